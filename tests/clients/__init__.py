"""The exports in the programs that people open them with, each as it is installed by anybody.

Nothing of this project is in those environments: a program gets the folder of an export, and what
it prints is compared with what the model itself writes.
"""
