"""State-space models: what each token gathers from those before it, in time linear in their number."""
