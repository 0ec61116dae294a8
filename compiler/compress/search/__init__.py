"""Searches for a small network that a board runs as fast as it must, told by the plan itself.

An `Environment` says what is to be decided, an agent proposes choices and learns from their trials,
and `run` lets both go on until the agent is done.
"""
