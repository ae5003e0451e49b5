"""Files of hosted work: quotas, storage, uploads, signed downloads, removal.

A file is a row before it is an object in the storage (decision 0044), so every object
belongs to an account that pays for its room, and has a time at which it is removed.
"""
