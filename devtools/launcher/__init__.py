"""./dev: one command from a fresh clone to a running system. Standard library only.

commands     what each sub-command does, in order
python       the interpreter and .venv
engines      PostgreSQL and Valkey, from wheels
localenv     var/env: secrets and addresses
family       starting processes; guard ends them, whatever happens to ./dev
supervisor   web, worker and beat: logs, restarts, the first screen
checks       ./dev check
"""
