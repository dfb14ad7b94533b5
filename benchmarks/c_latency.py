"""The C reference of the latency benchmark: PUB and SUB on libzmq, compiled on the spot if possible."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

_SOURCE: Final = r"""
#include <zmq.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>
static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static int order(const void *a, const void *b) {
  int64_t x = *(int64_t *)a, y = *(int64_t *)b;
  return (x > y) - (x < y);
}
int main(int argc, char **argv) {
  int n = atoi(argv[2]), rate = atoi(argv[3]);
  if (fork() == 0) {
    void *c = zmq_ctx_new(), *p = zmq_socket(c, ZMQ_XPUB);
    char sub[8], body[100] = {0};
    zmq_connect(p, argv[1]);
    zmq_recv(p, sub, sizeof sub, 0);
    int64_t start = now();
    for (int i = 0; i < n; i++) {
      int64_t due = start + (int64_t)i * 1000000000LL / rate, left;
      while ((left = due - now()) > 0) { struct timespec t = {0, left}; nanosleep(&t, 0); }
      int64_t stamp = now(); memcpy(body, &stamp, 8); zmq_send(p, body, sizeof body, 0);
    }
    zmq_close(p); zmq_ctx_term(c); _exit(0);
  }
  void *c = zmq_ctx_new(), *s = zmq_socket(c, ZMQ_SUB);
  zmq_setsockopt(s, ZMQ_SUBSCRIBE, "", 0);
  zmq_bind(s, argv[1]);
  int64_t *taken = malloc(n * sizeof *taken);
  for (int i = 0; i < n; i++) {
    char body[100];
    int64_t stamp;
    zmq_recv(s, body, sizeof body, 0);
    memcpy(&stamp, body, 8);
    taken[i] = now() - stamp;
  }
  qsort(taken + 200, n - 200, sizeof *taken, order);
  printf("%.1f\n", taken[200 + (n - 200) / 2] / 1000.0);
  zmq_close(s); zmq_ctx_term(c); wait(0);
  return 0;
}
"""


def c_latency(rate: int, messages: int) -> float | None:
    """Return the median one-way latency in us between two C processes over ipc; None without gcc or zmq.h."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    with tempfile.TemporaryDirectory(prefix="kb-") as name:
        source, program = Path(name) / "latency.c", Path(name) / "latency"
        source.write_text(_SOURCE)
        built = subprocess.run([gcc, "-O2", "-o", program, source, "-lzmq"], capture_output=True, check=False)
        if built.returncode:
            return None
        run = subprocess.run(
            [program, f"ipc://{name}/c", str(messages), str(rate)],
            capture_output=True,
            check=True,
            timeout=60,
        )
    return float(run.stdout)
