"""Hostile bytes for everything that reads: files, names, values, lines.

    python -m tests.campaign.fuzz                             100,000 executions over all targets
    python -m tests.campaign.fuzz gguf lock --executions 5000
    python -m tests.campaign.fuzz --replay                    only what corpus/ and seeds hold

A target (`targets_*.py`) gives any bytes to one part of the program. It may refuse them with a
`TinyLLMError`; any other exception, ten seconds, or 2 GB of memory is a fault. Coverage guides the
search (Atheris, which runs libFuzzer); inputs worth keeping are in corpus/.
"""
