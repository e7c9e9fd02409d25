"""Input that nobody planned: messages, keys, connection strings and settings, made up or damaged.

What a protobuf message may be made of is read from its descriptor, so that a new field is fuzzed without anybody having
to remember it. Everything is found by Hypothesis, so that what fails is shrunk, and fails again.
"""
