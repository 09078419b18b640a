"""What a configuration costs, how far it is and why parts of it would be made again: before anything runs.

Reads the plan and files on disk. Nothing heavy is imported: answers come in a second or two.
"""
