"""Records to documents: the experiment log of runs, written by the runs themselves."""
