"""The experiment record: append-only typed events, what they add up to, and the pictures beside them."""
