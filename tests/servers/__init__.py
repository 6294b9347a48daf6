"""Real storage servers on loopback, and a proxy that breaks what passes. Each is started by a test and stopped by
process id.
"""
