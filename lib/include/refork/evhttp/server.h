#pragma once

/* The evhttp server itself: how it is made and freed, what it listens on, and who serves which path. Included
 * by refork/evhttp.h. */

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "refork/evhttp/connections.h"
#include "refork/evhttp/requests.h"
#include "refork/evhttp/state.h"
#include "refork/evhttp/worker.h"
#include "refork/refork.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Frees the server, the evhttp, and what connections are left. NULL is allowed. */
static inline void refork_evhttp_free(struct refork_evhttp* server) {
  if (server == NULL) return;
  refork_worker_on_pause(server->worker, NULL, NULL);
  refork_worker_on_resume(server->worker, NULL, NULL);
  refork_worker_on_drain(server->worker, NULL, NULL);
  refork_worker_on_drained(server->worker, NULL, NULL);
  evhttp_free(server->http);
  while (server->connections != NULL) { /* those that evhttp had not told of */
    bufferevent_decref(server->connections->bev);
    refork_evhttp_forget_(server->connections);
  }
  while (server->listeners != NULL) {
    struct refork_evhttp_listener_* listener = server->listeners;
    server->listeners = listener->next;
    event_free(listener->again);
    free(listener);
  }
  while (server->routes != NULL) {
    struct refork_evhttp_route_* route = server->routes;
    server->routes = route->next;
    free(route);
  }
  if (server->control != NULL) event_free(server->control);
  if (server->closing != NULL) event_free(server->closing);
  if (server->beating != NULL) event_free(server->beating);
  if (server->wake != NULL) event_free(server->wake);
  if (server->wake_fd >= 0) close(server->wake_fd);
  refork_hold_release(&server->closing_hold);
  free(server);
}

/* A server that takes the evhttp, made on the thread that runs the loop; one a process. NULL without memory
 * or descriptors; then the evhttp is freed, too. */
static inline struct refork_evhttp* refork_evhttp_new(struct event_base* base, struct evhttp* http,
                                                      refork_worker* worker) {
  struct refork_evhttp* made = (struct refork_evhttp*)calloc(1, sizeof *made);
  void (*before)(int) = signal(SIGPIPE, SIG_IGN);
  if (before != SIG_DFL && before != SIG_ERR) signal(SIGPIPE, before);
  if (made == NULL || http == NULL) {
    if (http != NULL) evhttp_free(http);
    free(made);
    return NULL;
  }
  made->base = base;
  made->http = http;
  made->worker = worker;
  made->thread = pthread_self();
  made->label = refork_evhttp_plain_label_;
  made->failure = refork_evhttp_plain_failure_;
  made->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  made->wake = event_new(base, made->wake_fd, EV_READ | EV_PERSIST, refork_evhttp_wake_, made);
  made->closing = evtimer_new(base, refork_evhttp_close_listeners_, made);
  made->beating = evtimer_new(base, refork_evhttp_beat_, made);
  if (refork_worker_fd(worker) >= 0)
    made->control =
        event_new(base, refork_worker_fd(worker), EV_READ | EV_PERSIST, refork_evhttp_control_, made);
  if (made->wake_fd < 0 || made->wake == NULL || made->closing == NULL || made->beating == NULL ||
      event_add(made->wake, NULL) != 0 ||
      (refork_worker_fd(worker) >= 0 && (made->control == NULL || event_add(made->control, NULL) != 0)) ||
      refork_worker_on_pause(worker, refork_evhttp_on_pause_, made) != 0 ||
      refork_worker_on_resume(worker, refork_evhttp_on_resume_, made) != 0 ||
      refork_worker_on_drain(worker, refork_evhttp_on_drain_, made) != 0 ||
      refork_worker_on_drained(worker, refork_evhttp_on_drained_, made) != 0) {
    refork_evhttp_free(made);
    return NULL;
  }
  evhttp_set_bevcb(http, refork_evhttp_accepted_, made);
  refork_evhttp_beat_(-1, 0, made);
  return made;
}

/* Serves what arrives on this socket, which it takes: one of the worker's, or the program's own. 0, or a
 * negative errno, with the socket still the caller's: -ESHUTDOWN once the worker drains. */
static inline int refork_evhttp_listen(struct refork_evhttp* server, evutil_socket_t fd) {
  struct refork_evhttp_listener_* made = (struct refork_evhttp_listener_*)calloc(1, sizeof *made);
  refork_listener passed = REFORK_LISTENER_INIT;
  size_t i;
  if (made == NULL) return -ENOMEM;
  if (server->draining) {
    free(made);
    return -ESHUTDOWN;
  }
  made->server = server;
  made->own = 1;
  for (i = 0; refork_worker_listener(server->worker, i, &passed) == 0; ++i)
    if (passed.fd == fd) made->own = 0;
  evutil_make_socket_nonblocking(fd);
  made->again = evtimer_new(server->base, refork_evhttp_accept_again_, made);
  if (made->again != NULL) made->socket = evhttp_accept_socket_with_handle(server->http, fd);
  if (made->socket == NULL) {
    if (made->again != NULL) event_free(made->again);
    free(made);
    return -ENOMEM;
  }
  refork_evhttp_the_server_ = server;
  evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(made->socket), refork_evhttp_exhausted_);
  made->next = server->listeners;
  server->listeners = made;
  refork_evhttp_obey_(server);
  return 0;
}

/* Serves what arrives on each socket that was passed on to the worker. Returns how many, or a negative errno.
 */
static inline int refork_evhttp_listen_all(struct refork_evhttp* server) {
  refork_listener passed = REFORK_LISTENER_INIT;
  int count = 0;
  while (refork_worker_listener(server->worker, (size_t)count, &passed) == 0) {
    const int failed = refork_evhttp_listen(server, passed.fd);
    if (failed != 0) return failed;
    ++count;
  }
  return count;
}

/* evhttp_set_cb() for path, evhttp_set_gencb() where it is NULL. 0; -EEXIST if the path has one; -ENOMEM. */
static inline int refork_evhttp_set_cb(struct refork_evhttp* server, const char* path,
                                       refork_evhttp_cb function, void* arg) {
  struct refork_evhttp_route_* made = (struct refork_evhttp_route_*)calloc(1, sizeof *made);
  int failed = 0;
  if (made == NULL) return -ENOMEM;
  made->server = server;
  made->function = function;
  made->arg = arg;
  if (path == NULL)
    evhttp_set_gencb(server->http, refork_evhttp_handle_, made);
  else
    failed = evhttp_set_cb(server->http, path, refork_evhttp_handle_, made);
  if (failed != 0) {
    free(made);
    return failed == -1 ? -EEXIST : -ENOMEM;
  }
  made->next = server->routes;
  server->routes = made;
  return 0;
}

/* For all requests that no other callback takes. */
static inline int refork_evhttp_set_gencb(struct refork_evhttp* server, refork_evhttp_cb function,
                                          void* arg) {
  return refork_evhttp_set_cb(server, NULL, function, arg);
}

/* What a request is called in records; by default method and path, without the query. */
static inline void refork_evhttp_set_label(struct refork_evhttp* server, refork_evhttp_label_cb label,
                                           void* arg) {
  server->label = label;
  server->label_arg = arg;
}

/* Who writes the answer to a failed request; by default it says "Internal Server Error". */
static inline void refork_evhttp_on_failure(struct refork_evhttp* server, refork_evhttp_failure_cb failure,
                                            void* arg) {
  server->failure = failure;
  server->failure_arg = arg;
}

#ifdef __cplusplus
}
#endif
