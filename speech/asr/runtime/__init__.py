"""What the operating system gives to decoding: the cores of a thread, and how the allocator keeps memory.

Here belong process settings alone; they know nothing of audio or models.
"""
