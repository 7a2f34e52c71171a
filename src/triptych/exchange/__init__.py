"""Models from and to the files of other programs: what is read becomes a run, a run is written as files."""
