// Preloaded into redis-server, this puts its wall clock ahead by the seconds that
// stand in the file SKEW_FILE, eight bytes in the machine's order, at each call.
// libfaketime cannot: it and jemalloc wait for each other.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static volatile int64_t *skew;

__attribute__((constructor)) static void open_skew(void) {
  int fd = open(getenv("SKEW_FILE"), O_RDONLY);
  void *p = mmap(0, sizeof *skew, PROT_READ, MAP_SHARED, fd, 0);
  if (fd < 0 || p == MAP_FAILED) abort();
  skew = p;
}

int gettimeofday(struct timeval *tv, void *tz) {
  int r = syscall(SYS_gettimeofday, tv, tz);
  if (r == 0 && tv && skew) tv->tv_sec += *skew;
  return r;
}
