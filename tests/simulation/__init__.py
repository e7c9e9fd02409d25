"""The whole service in one process and in no time: real servers, real clients, a simulated world between them.

One seed decides everything that happens. `python -m tests.simulation --help` says how to run many of them.
"""
