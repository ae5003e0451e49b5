"""What is measured, and against what. `./dev bench` runs it; nothing ships it.

A reserve→settle pair over HTTP (token, validation, durable commit) beside, in the
same run on the same database, the same SQL functions driven straight (the limit) and
the usual `select_for_update` way over the same web stack (the habit).
"""
