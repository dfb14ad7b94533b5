"""What happened: the tops of all books and the trades as the feed brought them, in a bounded number of bytes.

`Store` keeps it and answers, `Historian` feeds it from the replica and has it outlive the process.
"""
