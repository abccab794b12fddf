"""Which bones and regions an age network rests on, and how faithful each way of finding out is to the network."""
