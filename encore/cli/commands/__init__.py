"""The arguments and options of each command. Importing them loads nothing heavy: a command imports
what does its work when it runs.
"""
