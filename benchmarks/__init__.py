"""Benchmarks that `./dev bench` runs. No release contains them.

They measure a pair of reserve and settle over HTTP (token, validation, durable commit).
In the same run and database they measure two comparisons: the SQL functions called
directly (the limit), and `select_for_update` over the same web stack (the habit).
"""
