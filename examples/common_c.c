/* The part of the examples in C that every server has in some form: arguments, a listening socket, parsing.
 */
#include "common_c.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  MAX_PORT = 65535
};

static const char usage[] =
    "options: [--port P] [--show-query]\n"
    "answers: / /pid, /error /error-code /error-late /error-handler (fail), /crash /abort (end the worker),\n"
    "         /hang (never answers); ?delay=MS takes its time\n";

static void give_up(const char* what, const char* why) {
  fprintf(stderr, "%s%s%s\n%s", what, *why ? ": " : "", why, usage);
  exit(2);
}

struct example_options example_parse_options(int argc, char** argv) {
  struct example_options options = {-1, 0};
  int i;
  for (i = 1; i < argc; ++i) {
    char* end = NULL;
    if (strcmp(argv[i], "--help") == 0) {
      fputs(usage, stdout);
      exit(0);
    } else if (strcmp(argv[i], "--show-query") == 0) {
      options.show_query = 1;
    } else if (strcmp(argv[i], "--port") == 0 && i + 1 < argc) {
      const long port = strtol(argv[++i], &end, 10);
      if (end == argv[i] || *end != '\0' || port < 0 || port > MAX_PORT)
        give_up("--port needs a number", argv[i]);
      options.port = (int)port;
    } else {
      give_up("unknown option, or no value", argv[i]);
    }
  }
  return options;
}

int example_listen(int port, char* address, size_t size) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  struct sockaddr_in at;
  socklen_t length = sizeof at;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  memset(&at, 0, sizeof at);
  at.sin_family = AF_INET;
  at.sin_port = htons((unsigned short)port);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, (struct sockaddr*)&at, length) != 0 || listen(fd, SOMAXCONN) != 0)
    give_up("cannot listen", strerror(errno));
  getsockname(fd, (struct sockaddr*)&at, &length);
  snprintf(address, size, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
  return fd;
}

void example_say_listening(const char* address) {
  printf("listening on %s\n", address);
  fflush(stdout);
}

long example_delay_ms(const char* target) {
  const char* query = strchr(target, '?');
  const char* delay = query == NULL ? NULL : strstr(query, "delay=");
  return delay == NULL ? 0 : strtol(delay + strlen("delay="), NULL, 10);
}

/* A crash with sanitizers, too: they would report it instead. */
__attribute__((no_sanitize("undefined"))) void example_crash(void) {
  volatile int* nowhere = NULL;
  *nowhere = 1;
  abort();
}

void example_abort(void) { abort(); }

void example_hang(void) {
  for (;;) pause();
}
