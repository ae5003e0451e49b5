"""Automatic top-ups: the owner's rule, the charges, and the outcomes of charges."""
