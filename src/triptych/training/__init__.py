"""Training: the state that a resume needs, the loop, and what is drawn and measured on the way."""
