"""Benchmarks of Lockstream beside etcd's own lock service and hand-written etcd transactions.

`python -m tests.benchmarks [--quick] [--check]` prints a table and writes `build/bench.jsonl`.

What is measured, with the same load generator and the same client concurrency for every system:

`pairs`
    N workers, each with a lock name of its own, acquire and release in a loop. The value is the
    number of pairs completed per second; p50 and p99 are of a pair, from sending its acquire to
    having the reply to its release.
`pairs_ten_names`
    As `pairs`, but each worker acquires ten names of its own at once, and releases them at once.
`pairs_permits`
    As `pairs`, but all workers take one of the permits of one name, of which there is one for each.
`pairs_readers`
    As `pairs`, but all workers share one name.
`handoff_drain`
    N waiters are queued on one name behind a holder; then the holder releases, and each waiter
    releases as soon as it learns of its grant. p50 and p99 are of a handoff: from sending the
    release to the next holder's learning of its grant. The value is handoffs per second, from the
    first release to the last grant of a queue.
`handoff_steady`
    N workers take turns on one name, queueing again as soon as their release is answered. Handoffs
    as above; the value is handoffs per second.
`kill_to_grant`
    Milliseconds from SIGKILL of a holder's process, whose session has no grace, to the next
    waiter's learning of its grant. The value is the median.
`idle_session`
    Kibibytes of memory (PSS) that a session which does nothing costs the server, when all sessions
    are on one connection.
`idle_connection`
    The same when each session is on a connection of its own.

The systems are `lockstream` with a session for each worker, `lockstream-shared` with one session
for all of them, `etcd-v3lock` and `etcd-txn` with a lease for each worker.

Server, etcd and load generator are separate processes. All workers of a load generator share one
gRPC channel, whatever the system, and no lease is renewed while it is measured. Every round starts
every system afresh on an etcd of its own (the two ways of using Lockstream share theirs), with the
same flags and on the same disk, and goes through the points (a bench at a concurrency) with the
systems in turn, so that a slow minute of the machine hits all of them; what is reported are the
medians over the rounds. Linux is needed, for its `/proc`.
"""
