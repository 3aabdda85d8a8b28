"""First layers of policies that know the observation's parts. In: observations. Out: features.

Each takes observations by value or by reference, with the same parameters and results.
"""
