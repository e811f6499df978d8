"""Is anything lost when a program is killed, or a file damaged?"""
