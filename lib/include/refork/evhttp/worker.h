#pragma once

/* What the worker says to an evhttp server, and what its loop then does: accepting pauses and resumes, a
 * drain closes the listeners, and the watchdog hears of the loop. Included by refork/evhttp.h. */

#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#include "refork/evhttp/state.h"
#include "refork/refork.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One a process, as the worker is; known to those callbacks that libevent gives no argument of ours. */
static struct refork_evhttp* refork_evhttp_the_server_;

static inline void refork_evhttp_accept_again_(evutil_socket_t fd, short what, void* arg) {
  struct refork_evhttp_listener_* listener = (struct refork_evhttp_listener_*)arg;
  (void)fd;
  (void)what;
  if (listener->socket != NULL &&
      __atomic_load_n(&listener->server->told, __ATOMIC_ACQUIRE) != REFORK_EVHTTP_PAUSE_)
    evconnlistener_enable(evhttp_bound_socket_get_listener(listener->socket));
}

/* No descriptors or memory are left: without a rest the loop would spin. */
static inline void refork_evhttp_exhausted_(struct evconnlistener* of, void* arg) {
  struct refork_evhttp_listener_* listener = refork_evhttp_the_server_->listeners;
  (void)arg;
  while (listener != NULL &&
         (listener->socket == NULL || evhttp_bound_socket_get_listener(listener->socket) != of))
    listener = listener->next;
  if (listener == NULL) return;
  evconnlistener_disable(of);
  refork_evhttp_start_timer_(listener->again, REFORK_EVHTTP_ACCEPT_AGAIN_MS);
}

static inline void refork_evhttp_pause_(struct refork_evhttp* server, int paused) {
  struct refork_evhttp_listener_* listener;
  for (listener = server->listeners; listener != NULL; listener = listener->next) {
    if (listener->socket == NULL) continue;
    if (paused)
      evconnlistener_disable(evhttp_bound_socket_get_listener(listener->socket));
    else
      evconnlistener_enable(evhttp_bound_socket_get_listener(listener->socket));
  }
}

/* The queue of a socket that nobody else holds dies with it: who is in it is still served. */
static inline void refork_evhttp_close_listeners_(evutil_socket_t fd, short what, void* arg) {
  struct refork_evhttp* server = (struct refork_evhttp*)arg;
  struct refork_evhttp_listener_* listener;
  int left = 0;
  (void)fd;
  (void)what;
  for (listener = server->listeners; listener != NULL; listener = listener->next) {
    struct pollfd queue;
    if (listener->socket == NULL) continue;
    queue.fd = evhttp_bound_socket_get_fd(listener->socket);
    queue.events = POLLIN;
    queue.revents = 0;
    if (listener->own && poll(&queue, 1, 0) > 0 && (queue.revents & POLLIN)) {
      evconnlistener_enable(evhttp_bound_socket_get_listener(listener->socket));
      left = 1;
    } else {
      evhttp_del_accept_socket(server->http, listener->socket);
      listener->socket = NULL;
    }
  }
  if (left)
    refork_evhttp_start_timer_(server->closing, 1);
  else
    refork_hold_release(&server->closing_hold);
}

static inline void refork_evhttp_begin_drain_(struct refork_evhttp* server) {
  struct refork_evhttp_connection_* connection;
  server->draining = 1;
  for (connection = server->connections; connection != NULL; connection = connection->next)
    if (connection->state == REFORK_EVHTTP_OPEN_)
      refork_evhttp_start_timer_(connection->timer, server->lame_duck_ms);
  event_active(server->closing, EV_TIMEOUT, 1);
}

static inline void refork_evhttp_obey_(struct refork_evhttp* server) {
  const int told = __atomic_load_n(&server->told, __ATOMIC_ACQUIRE);
  if (told < REFORK_EVHTTP_DRAIN_)
    refork_evhttp_pause_(server, told == REFORK_EVHTTP_PAUSE_);
  else if (!server->draining)
    refork_evhttp_begin_drain_(server);
  if (told == REFORK_EVHTTP_DRAINED_) event_base_loopexit(server->base, NULL);
}

static inline void refork_evhttp_wake_(evutil_socket_t fd, short what, void* arg) {
  uint64_t count;
  (void)what;
  if (read(fd, &count, sizeof count) > 0) refork_evhttp_obey_((struct refork_evhttp*)arg);
}

/* At once on the loop's own thread, so that not one more connection is accepted after a pause. */
static inline void refork_evhttp_tell_(struct refork_evhttp* server, enum refork_evhttp_told_ what) {
  const uint64_t one = 1;
  __atomic_store_n(&server->told, (int)what, __ATOMIC_RELEASE);
  if (pthread_equal(pthread_self(), server->thread))
    refork_evhttp_obey_(server);
  else if (write(server->wake_fd, &one, sizeof one) < 0)
    return; /* its counter is full: the loop is awake */
}

static inline void refork_evhttp_on_pause_(void* arg) {
  refork_evhttp_tell_((struct refork_evhttp*)arg, REFORK_EVHTTP_PAUSE_);
}
static inline void refork_evhttp_on_resume_(void* arg) {
  refork_evhttp_tell_((struct refork_evhttp*)arg, REFORK_EVHTTP_ACCEPT_);
}
static inline void refork_evhttp_on_drain_(const refork_drain* drain, void* arg) {
  struct refork_evhttp* server = (struct refork_evhttp*)arg;
  server->lame_duck_ms = drain->lame_duck_ms;
  refork_hold_take(server->worker, &server->closing_hold); /* until accepting has ended */
  refork_evhttp_tell_(server, REFORK_EVHTTP_DRAIN_);
}
static inline void refork_evhttp_on_drained_(void* arg) {
  refork_evhttp_tell_((struct refork_evhttp*)arg, REFORK_EVHTTP_DRAINED_);
}

static inline void refork_evhttp_control_(evutil_socket_t fd, short what, void* arg) {
  (void)fd;
  (void)what;
  refork_worker_process(((struct refork_evhttp*)arg)->worker);
}

/* Tells the watchdog that the loop runs, as often as it wants to know. */
static inline void refork_evhttp_beat_(evutil_socket_t fd, short what, void* arg) {
  struct refork_evhttp* server = (struct refork_evhttp*)arg;
  const uint32_t every = refork_worker_beat_every(server->worker);
  (void)fd;
  (void)what;
  refork_worker_beat(server->worker);
  if (every > 0) refork_evhttp_start_timer_(server->beating, every);
}

#ifdef __cplusplus
}
#endif
