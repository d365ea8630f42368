"""Jobs: what operators ask of the workers. A row of operations.jobs each; one worker runs them, one after the other."""
