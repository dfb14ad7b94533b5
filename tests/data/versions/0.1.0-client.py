import signal
import msgpack, zmq

feed = zmq.Context().socket(zmq.SUB)
feed.connect("ipc://.run/feed.sock")
feed.subscribe("md.")  # all market data; "md.KXNBA." for one series
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # ends quietly with its reader: "| head"
while feed.poll(3_000) or not print("nothing heard in 3 s: does make run run, in this folder?", flush=True):
    topic, _, body = feed.recv().partition(b"\0")
    version, epoch, seq, prev, kind, cycle, published_ns, source_ns, records = msgpack.unpackb(body)[:9]
    print(*(f"{seq} {topic.decode()} {kind} {record[:7]}" for record in records), sep="\n", flush=True)
