"""What a lock is, decided without I/O: no clock, no network, no randomness in here.

Everything follows from one ordered history, etcd's revisions. `table` folds them, `rules` says who may hold,
`session` says what a session may do next, `errors` names what can go wrong.
"""
