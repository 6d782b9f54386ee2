#pragma once

/* librefork for servers on libevent 2.1: a callback runs in the domain that was active when it was scheduled,
 * and what is reported (or, in C++, thrown) in it goes there, never into the loop. A set of drop-in functions
 * for what servers schedule: events, timers, signals, one-off events, bufferevents, listeners. HTTP servers
 * on evhttp have evhttp.h.
 *
 * Not covered: evdns, evrpc, evhttp's client side, evbuffer callbacks, filters and pairs of bufferevents
 * beyond their three callbacks. Bind those with refork_bind() and call refork_call() from the library's
 * callback.
 *
 * C99 and C++; link with libevent_core. Used like libevent itself: an object by one thread at a time. */

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>

#include "refork/refork.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- events: refork_event_new() and its kin in place of event_new() ---- */

/* An event and the domain that its callback runs in: the one active when it was added last, or that of its
 * emitter. */
struct refork_event {
  struct event*
      event; /* for event_pending(), event_priority_set(), event_active() and what else changes no callback */
  event_callback_fn function;
  void* arg;
  refork_domain* domain;
  refork_emitter* emitter; /* whose domain it is instead, or NULL: refork_event_emitter() */
};

struct refork_event_call_ {
  event_callback_fn function;
  evutil_socket_t fd;
  short what;
  void* arg;
};

/* With a new reference. */
static inline refork_domain* refork_domain_of_(refork_emitter* emitter, refork_domain* domain) {
  return emitter != NULL ? refork_emitter_domain(emitter) : refork_domain_ref(domain);
}

static inline void refork_event_call_run_(void* arg) {
  const struct refork_event_call_* call = (const struct refork_event_call_*)arg;
  call->function(call->fd, call->what, call->arg);
}

static inline void refork_event_fire_(evutil_socket_t fd, short what, void* arg) {
  struct refork_event* self = (struct refork_event*)arg;
  struct refork_event_call_ call;
  /* The callback may free the event. */
  refork_domain* domain = refork_domain_of_(self->emitter, self->domain);
  call.function = self->function;
  call.fd = fd;
  call.what = what;
  call.arg = self->arg;
  if (!(event_get_events(self->event) & EV_PERSIST)) { /* it has done what it was added for */
    refork_domain_unref(self->domain);
    self->domain = NULL;
  }
  refork_call_in(domain, NULL, refork_event_call_run_, &call);
  refork_domain_unref(domain);
}

static inline void refork_event_free(struct refork_event* event) {
  if (event == NULL) return;
  if (event->event != NULL) event_free(event->event);
  refork_emitter_free(event->emitter);
  refork_domain_unref(event->domain);
  free(event);
}

/* For timers: fd -1 and what 0; for signals: the signal's number and EV_SIGNAL | EV_PERSIST. NULL without
 * memory. */
static inline struct refork_event* refork_event_new(struct event_base* base, evutil_socket_t fd, short what,
                                                    event_callback_fn function, void* arg) {
  struct refork_event* made = (struct refork_event*)calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->function = function;
  made->arg = arg;
  made->event = event_new(base, fd, what, refork_event_fire_, made);
  if (made->event == NULL) {
    free(made);
    return NULL;
  }
  return made;
}

/* Binds it to the domain that is active now. 0, or -1 as event_add(). */
static inline int refork_event_add(struct refork_event* event, const struct timeval* timeout) {
  refork_domain* before = event->domain;
  event->domain = refork_domain_current();
  refork_domain_unref(before);
  return event_add(event->event, timeout);
}

static inline int refork_event_del(struct refork_event* event) {
  const int result = event_del(event->event);
  refork_domain_unref(event->domain);
  event->domain = NULL;
  return result;
}

/* The event as an emitter, to be added to domains, moved and taken out by the functions for emitters; made at
 * the first call, in the domain that is active then, and freed with the event. From then on the callback runs
 * in the emitter's domain, in whichever the event is added. NULL without memory. */
static inline refork_emitter* refork_event_emitter(struct refork_event* event) {
  if (event->emitter == NULL) event->emitter = refork_emitter_new("event");
  return event->emitter;
}

static inline void refork_event_once_(evutil_socket_t fd, short what, void* arg) {
  struct refork_event once = *(struct refork_event*)arg;
  struct refork_event_call_ call;
  free(arg);
  call.function = once.function;
  call.fd = fd;
  call.what = what;
  call.arg = once.arg;
  refork_call_in(once.domain, NULL, refork_event_call_run_, &call);
  refork_domain_unref(once.domain);
}

/* event_base_once(): 0, or -1. What has not happened when the base is freed is not freed with it. */
static inline int refork_event_base_once(struct event_base* base, evutil_socket_t fd, short what,
                                         event_callback_fn function, void* arg,
                                         const struct timeval* timeout) {
  struct refork_event* once = (struct refork_event*)calloc(1, sizeof *once);
  if (once == NULL) return -1;
  once->function = function;
  once->arg = arg;
  once->domain = refork_domain_current();
  if (event_base_once(base, fd, what, refork_event_once_, once, timeout) == 0) return 0;
  refork_domain_unref(once->domain);
  free(once);
  return -1;
}

/* ---- bufferevents: refork_bufferevent_setcb() and refork_bufferevent_free() ---- */

struct refork_bufferevent_callbacks_ {
  bufferevent_data_cb read;
  bufferevent_data_cb write;
  bufferevent_event_cb event;
  void* arg;
  refork_domain* domain;
  refork_emitter* emitter; /* whose domain it is instead, or NULL */
};

struct refork_bufferevent_call_ {
  struct bufferevent* bufferevent;
  bufferevent_data_cb data;   /* or */
  bufferevent_event_cb event; /* with */
  short what;
  void* arg;
};

static inline void refork_bufferevent_call_run_(void* arg) {
  const struct refork_bufferevent_call_* call = (const struct refork_bufferevent_call_*)arg;
  if (call->data != NULL)
    call->data(call->bufferevent, call->arg);
  else
    call->event(call->bufferevent, call->what, call->arg);
}

static inline void refork_bufferevent_dispatch_(const struct refork_bufferevent_callbacks_* of,
                                                struct bufferevent* bufferevent, bufferevent_data_cb data,
                                                short what) {
  struct refork_bufferevent_call_ call;
  /* The callback may free the bufferevent. */
  refork_domain* domain = refork_domain_of_(of->emitter, of->domain);
  call.bufferevent = bufferevent;
  call.data = data;
  call.event = of->event;
  call.what = what;
  call.arg = of->arg;
  refork_call_in(domain, NULL, refork_bufferevent_call_run_, &call);
  refork_domain_unref(domain);
}

static inline void refork_bufferevent_read_(struct bufferevent* bufferevent, void* arg) {
  const struct refork_bufferevent_callbacks_* self = (const struct refork_bufferevent_callbacks_*)arg;
  refork_bufferevent_dispatch_(self, bufferevent, self->read, 0);
}

static inline void refork_bufferevent_write_(struct bufferevent* bufferevent, void* arg) {
  const struct refork_bufferevent_callbacks_* self = (const struct refork_bufferevent_callbacks_*)arg;
  refork_bufferevent_dispatch_(self, bufferevent, self->write, 0);
}

static inline void refork_bufferevent_event_(struct bufferevent* bufferevent, short what, void* arg) {
  const struct refork_bufferevent_callbacks_* self = (const struct refork_bufferevent_callbacks_*)arg;
  if (self->event != NULL) refork_bufferevent_dispatch_(self, bufferevent, NULL, what);
}

/* The callbacks set by refork_bufferevent_setcb(), or NULL. */
static inline struct refork_bufferevent_callbacks_* refork_bufferevent_of_(struct bufferevent* bufferevent) {
  bufferevent_data_cb read = NULL, write = NULL;
  bufferevent_event_cb event = NULL;
  void* arg = NULL;
  bufferevent_getcb(bufferevent, &read, &write, &event, &arg);
  return event == refork_bufferevent_event_ ? (struct refork_bufferevent_callbacks_*)arg : NULL;
}

static inline void refork_bufferevent_forget_(struct bufferevent* bufferevent) {
  struct refork_bufferevent_callbacks_* callbacks = refork_bufferevent_of_(bufferevent);
  if (callbacks == NULL) return;
  bufferevent_setcb(bufferevent, NULL, NULL, NULL, NULL);
  refork_emitter_free(callbacks->emitter);
  refork_domain_unref(callbacks->domain);
  free(callbacks);
}

/* bufferevent_setcb(), bound to the domain that is active now. 0, or -1 without memory, with the callbacks as
 * they were. Change them with this function only, and end the bufferevent with refork_bufferevent_free(). */
static inline int refork_bufferevent_setcb(struct bufferevent* bufferevent, bufferevent_data_cb read,
                                           bufferevent_data_cb write, bufferevent_event_cb event, void* arg) {
  struct refork_bufferevent_callbacks_* before = refork_bufferevent_of_(bufferevent);
  struct refork_bufferevent_callbacks_* made = (struct refork_bufferevent_callbacks_*)calloc(1, sizeof *made);
  if (made == NULL) return -1;
  made->read = read;
  made->write = write;
  made->event = event;
  made->arg = arg;
  made->domain = refork_domain_current();
  if (before != NULL) {
    made->emitter = before->emitter;
    before->emitter = NULL;
  }
  refork_bufferevent_forget_(bufferevent);
  bufferevent_setcb(bufferevent, read != NULL ? refork_bufferevent_read_ : NULL,
                    write != NULL ? refork_bufferevent_write_ : NULL, refork_bufferevent_event_, made);
  return 0;
}

/* As refork_event_emitter(), for a bufferevent whose callbacks were set by refork_bufferevent_setcb(); NULL
 * for others. It stays when the callbacks are set again. */
static inline refork_emitter* refork_bufferevent_emitter(struct bufferevent* bufferevent) {
  struct refork_bufferevent_callbacks_* callbacks = refork_bufferevent_of_(bufferevent);
  if (callbacks == NULL) return NULL;
  if (callbacks->emitter == NULL) callbacks->emitter = refork_emitter_new("bufferevent");
  return callbacks->emitter;
}

static inline void refork_bufferevent_free(struct bufferevent* bufferevent) {
  refork_bufferevent_forget_(bufferevent);
  bufferevent_free(bufferevent);
}

/* ---- listeners: refork_evconnlistener_new() in place of evconnlistener_new() ---- */

/* A listener and the domain that it was made in, mostly none: give each connection one of its own in the
 * callback. */
struct refork_evconnlistener {
  struct evconnlistener* listener; /* for evconnlistener_enable(), _disable() and _set_error_cb() */
  evconnlistener_cb function;
  void* arg;
  refork_domain* domain;
};

struct refork_evconnlistener_call_ {
  struct refork_evconnlistener* self;
  evutil_socket_t fd;
  struct sockaddr* address;
  int length;
};

static inline void refork_evconnlistener_call_run_(void* arg) {
  const struct refork_evconnlistener_call_* call = (const struct refork_evconnlistener_call_*)arg;
  call->self->function(call->self->listener, call->fd, call->address, call->length, call->self->arg);
}

static inline void refork_evconnlistener_accept_(struct evconnlistener* listener, evutil_socket_t fd,
                                                 struct sockaddr* address, int length, void* arg) {
  struct refork_evconnlistener_call_ call;
  refork_domain* domain;
  (void)listener;
  call.self = (struct refork_evconnlistener*)arg;
  call.fd = fd;
  call.address = address;
  call.length = length;
  domain = refork_domain_ref(call.self->domain);
  refork_call_in(domain, NULL, refork_evconnlistener_call_run_, &call);
  refork_domain_unref(domain);
}

/* For a socket of refork_worker_listener() make it non-blocking, and give LEV_OPT_CLOSE_ON_EXEC and
 * LEV_OPT_CLOSE_ON_FREE. Disable it in on_pause, enable it in on_resume, free it in on_drain, all on the
 * loop's thread: that is where they run with REFORK_DRIVE_FD. Hold (refork_hold) the worker for each
 * connection. NULL on an error. */
static inline struct refork_evconnlistener* refork_evconnlistener_new(struct event_base* base,
                                                                      evconnlistener_cb function, void* arg,
                                                                      unsigned flags, int backlog,
                                                                      evutil_socket_t fd) {
  struct refork_evconnlistener* made = (struct refork_evconnlistener*)calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->function = function;
  made->arg = arg;
  made->domain = refork_domain_current();
  made->listener = evconnlistener_new(base, refork_evconnlistener_accept_, made, flags, backlog, fd);
  if (made->listener != NULL) return made;
  refork_domain_unref(made->domain);
  free(made);
  return NULL;
}

/* Not from its own callback. */
static inline void refork_evconnlistener_free(struct refork_evconnlistener* listener) {
  if (listener == NULL) return;
  evconnlistener_free(listener->listener);
  refork_domain_unref(listener->domain);
  free(listener);
}

#ifdef __cplusplus
}
#endif
