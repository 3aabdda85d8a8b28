"""The compiled primitives, and the machine that runs a program of them over sorted segments."""
