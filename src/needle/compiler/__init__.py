"""From a traced function to one native program: the files are in the order in which they run."""
