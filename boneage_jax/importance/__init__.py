"""Which bones and regions an age network rests on, and how far each way of finding out can be believed."""
