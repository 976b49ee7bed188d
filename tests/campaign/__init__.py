"""The fault campaign: what goes wrong in other people's worlds, case by case, on the real program.

    python -m tests.campaign                     every case, and a table
    python -m tests.campaign garbage_in_store    some of them
    python -m tests.campaign --write             also writes docs/reliability.md

A case is a function in one of these modules. pytest runs each as a test.
"""
