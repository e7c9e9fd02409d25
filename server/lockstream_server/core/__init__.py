"""What a lock is, decided without I/O: no clock, no network, no randomness in here.

Everything follows from one ordered history, etcd's revisions. `changes` says what is in one, `table` folds it and
`effects` says what follows; `queue` is one lock, `rules` says who may hold it; `session` says what a session may do
next, `errors` names what can go wrong.
"""
