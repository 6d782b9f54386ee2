#pragma once

/* What an example server in C needs and what has nothing to do with refork: options, a socket of its own,
 * targets. The same as common.h has for C++. */

#include <stddef.h>

struct example_options {
  int port;       /* --port P: serve on a socket of our own; 0: any free port; -1: none was given */
  int show_query; /* --show-query: requests are labelled with their query */
};

/* Ends the process with a sentence if the arguments make no sense. */
struct example_options example_parse_options(int argc, char** argv);

/* A listening socket on the loopback; ends the process with a sentence where there can be none. Writes its
 * address. */
int example_listen(int port, char* address, size_t size);
void example_say_listening(const char* address);

/* The milliseconds of "/search?delay=5"; 0 without. */
long example_delay_ms(const char* target);

/* What /crash, /abort and /hang do. None returns. */
void example_crash(void);
void example_abort(void);
void example_hang(void);
