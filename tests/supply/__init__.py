"""What the package rests on and how it is shipped: licences, exact versions, built archives, no code from data."""
