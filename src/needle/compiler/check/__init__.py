"""Looking at a program: against the interpreter, against the machine."""
