#pragma once

// The functions of libuv that take a callback, under the same names and with the same arguments, for a
// callback that runs in the domain active at the call:
//
//   uv_timer_start(&timer, on_timeout, 1000, 0);   becomes   refork::uv::timer_start(&timer, on_timeout,
//   1000, 0);
//
// What a callback throws goes to that domain and never into the loop; where no domain was active, to one
// without a handler, so that it falls back on the Worker. `data` of handles and requests is left alone:
// domain and callback are kept beside them, in a table, until the request completes or the handle is closed.
// So a handle started here must be closed by refork::uv::close(); stopping it lets go of its domain.
// Everything may be mixed with the plain functions, whose callbacks then belong to no domain. As in libuv, a
// loop and what is on it is used by one thread at a time; different loops may run on different threads.

#include <uv.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "refork/domain.hpp"

namespace refork::uv {
namespace detail {

// What of a handle or request a callback is for.
enum class Slot {
  event,  // the only one of most
  read,   // of streams and UDP: what arrives, and the memory for it; of uv_queue_work: the work
  alloc,
  close,
  count
};

using AnyCallback = void (*)();

struct Registered {
  AnyCallback callback = nullptr;
  Domain domain = Domain::empty();
};
struct Registrations {
  std::array<Registered, static_cast<std::size_t>(Slot::count)> slots;
  Registered& operator[](Slot slot) { return slots[static_cast<std::size_t>(slot)]; }
};

// Callbacks and their domains by the address of their handle or request. In parts, each with a lock of its
// own, so that loops on several threads hardly meet. A domain is let go of outside the locks: its end may run
// anything.
class Table {
 public:
  static Table& instance() {
    static Table& table = *new Table;  // not destroyed: threads of libuv's pool may outlive main()
    return table;
  }

  Registered exchange(const void* of, Slot slot, Registered with) {
    Part& part = part_of(of);
    const std::lock_guard lock(part.mutex);
    std::swap(part.map[of][slot], with);
    return with;
  }
  Registered get(const void* of, Slot slot) {
    Part& part = part_of(of);
    const std::lock_guard lock(part.mutex);
    const auto found = part.map.find(of);
    return found == part.map.end() ? Registered() : found->second[slot];
  }
  // The callback is kept, for libuv may call it again, as after uv_timer_again(); its domain is not.
  void let_go(const void* of, Slot slot) {
    Domain gone = Domain::empty();
    Part& part = part_of(of);
    const std::lock_guard lock(part.mutex);
    const auto found = part.map.find(of);
    if (found != part.map.end()) std::swap(gone, found->second[slot].domain);
    // `gone` was declared before the lock: it ends after it.
  }
  Registrations erase(const void* of) {
    Part& part = part_of(of);
    const std::lock_guard lock(part.mutex);
    const auto node = part.map.extract(of);
    return node.empty() ? Registrations() : std::move(node.mapped());
  }
  std::size_t size() {
    std::size_t all = 0;
    for (Part& part : parts_) {
      const std::lock_guard lock(part.mutex);
      all += part.map.size();
    }
    return all;
  }

 private:
  struct alignas(64) Part {
    std::mutex mutex;
    std::unordered_map<const void*, Registrations> map;
  };
  Part& part_of(const void* of) { return parts_[std::hash<const void*>()(of) / 64 % parts_.size()]; }
  std::array<Part, 16> parts_;
};

// Of callbacks that belong to no other domain.
inline const Domain& nobodys() {
  static const Domain& domain = *new Domain("uv");
  return domain;
}
inline Domain active() {
  Domain current = Domain::current();
  return current ? current : nobodys();
}

// Calls what is registered, inside its domain. False if it threw.
template <class Callback, class... Args>
bool call(const Registered& registered, Args... args) {
  if (!registered.callback) return true;
  const auto callback = reinterpret_cast<Callback>(registered.callback);
  bool done = false;
  (registered.domain ? registered.domain : active()).bind([&] {
    callback(args...);
    done = true;
  })();
  return done;
}

// Whether the handle can still call back; if not, its domain is let go of.
template <class Handle>
void rest_if_stopped(const Handle* handle, Slot slot) {
  if (!uv_is_active(reinterpret_cast<const uv_handle_t*>(handle))) Table::instance().let_go(handle, slot);
}

// What libuv is given for a callback of type `void(T*, Args...)`: for handles, which call again; for
// requests, which call once, and may be gone when their callback returns.
template <Slot slot, class Callback>
struct Trampoline;
template <Slot slot, class T, class... Args>
struct Trampoline<slot, void (*)(T*, Args...)> {
  using Callback = void (*)(T*, Args...);
  static void of_handle(T* handle, Args... args) noexcept {
    call<Callback>(Table::instance().get(handle, slot), handle, args...);
    rest_if_stopped(handle, slot);
  }
  static void of_request(T* request, Args... args) noexcept {
    const Registrations registered = Table::instance().erase(request);
    call<Callback>(registered.slots[static_cast<std::size_t>(slot)], request, args...);
  }
};

// Takes back what was registered if the call that it was for failed.
class Registration {
 public:
  template <class Callback>
  Registration(const void* of, Slot slot, Callback callback)
      : of_(of),
        slot_(slot),
        before_(Table::instance().exchange(of, slot, {reinterpret_cast<AnyCallback>(callback), active()})) {}
  int result(int status) {
    if (status < 0) before_ = Table::instance().exchange(of_, slot_, std::move(before_));
    return status;
  }
  // The same for a request, of which nothing stays.
  int request(int status) {
    if (status < 0) Table::instance().erase(of_);
    return status;
  }

 private:
  const void* of_;
  Slot slot_;
  Registered before_;
};

template <class Callback, class Start>
int start(const void* handle, Callback callback, Start start) {
  if (!callback) return start(callback);  // libuv refuses it, or does without
  return Registration(handle, Slot::event, callback)
      .result(start(&Trampoline<Slot::event, Callback>::of_handle));
}
template <class Stop>
int stop(const void* handle, Slot slot, Stop stop) {
  const int status = stop();
  Table::instance().let_go(handle, slot);
  return status;
}
template <class Callback, class Begin>
int begin(const void* request, Callback callback, Begin begin) {
  if (!callback) return begin(callback);
  return Registration(request, Slot::event, callback)
      .request(begin(&Trampoline<Slot::event, Callback>::of_request));
}

}  // namespace detail

// --- handles

inline int timer_start(uv_timer_t* timer, uv_timer_cb callback, std::uint64_t timeout, std::uint64_t repeat) {
  return detail::start(timer, callback,
                       [&](uv_timer_cb c) { return uv_timer_start(timer, c, timeout, repeat); });
}
inline int timer_stop(uv_timer_t* timer) {
  return detail::stop(timer, detail::Slot::event, [&] { return uv_timer_stop(timer); });
}
inline int idle_start(uv_idle_t* idle, uv_idle_cb callback) {
  return detail::start(idle, callback, [&](uv_idle_cb c) { return uv_idle_start(idle, c); });
}
inline int idle_stop(uv_idle_t* idle) {
  return detail::stop(idle, detail::Slot::event, [&] { return uv_idle_stop(idle); });
}
inline int prepare_start(uv_prepare_t* prepare, uv_prepare_cb callback) {
  return detail::start(prepare, callback, [&](uv_prepare_cb c) { return uv_prepare_start(prepare, c); });
}
inline int prepare_stop(uv_prepare_t* prepare) {
  return detail::stop(prepare, detail::Slot::event, [&] { return uv_prepare_stop(prepare); });
}
inline int check_start(uv_check_t* check, uv_check_cb callback) {
  return detail::start(check, callback, [&](uv_check_cb c) { return uv_check_start(check, c); });
}
inline int check_stop(uv_check_t* check) {
  return detail::stop(check, detail::Slot::event, [&] { return uv_check_stop(check); });
}
// Its callback belongs to the domain of this call, whichever domain and thread sends.
inline int async_init(uv_loop_t* loop, uv_async_t* async, uv_async_cb callback) {
  return detail::start(async, callback, [&](uv_async_cb c) { return uv_async_init(loop, async, c); });
}
inline int poll_start(uv_poll_t* poll, int events, uv_poll_cb callback) {
  return detail::start(poll, callback, [&](uv_poll_cb c) { return uv_poll_start(poll, events, c); });
}
inline int poll_stop(uv_poll_t* poll) {
  return detail::stop(poll, detail::Slot::event, [&] { return uv_poll_stop(poll); });
}
inline int signal_start(uv_signal_t* signal, uv_signal_cb callback, int number) {
  return detail::start(signal, callback, [&](uv_signal_cb c) { return uv_signal_start(signal, c, number); });
}
inline int signal_start_oneshot(uv_signal_t* signal, uv_signal_cb callback, int number) {
  return detail::start(signal, callback,
                       [&](uv_signal_cb c) { return uv_signal_start_oneshot(signal, c, number); });
}
inline int signal_stop(uv_signal_t* signal) {
  return detail::stop(signal, detail::Slot::event, [&] { return uv_signal_stop(signal); });
}
inline int fs_event_start(uv_fs_event_t* event, uv_fs_event_cb callback, const char* path, unsigned flags) {
  return detail::start(event, callback,
                       [&](uv_fs_event_cb c) { return uv_fs_event_start(event, c, path, flags); });
}
inline int fs_event_stop(uv_fs_event_t* event) {
  return detail::stop(event, detail::Slot::event, [&] { return uv_fs_event_stop(event); });
}
inline int fs_poll_start(uv_fs_poll_t* poll, uv_fs_poll_cb callback, const char* path, unsigned interval) {
  return detail::start(poll, callback,
                       [&](uv_fs_poll_cb c) { return uv_fs_poll_start(poll, c, path, interval); });
}
inline int fs_poll_stop(uv_fs_poll_t* poll) {
  return detail::stop(poll, detail::Slot::event, [&] { return uv_fs_poll_stop(poll); });
}
// The exit callback.
inline int spawn(uv_loop_t* loop, uv_process_t* process, const uv_process_options_t* options) {
  return detail::start(process, options->exit_cb, [&](uv_exit_cb c) {
    uv_process_options_t ours = *options;
    ours.exit_cb = c;
    return uv_spawn(loop, process, &ours);
  });
}

// The callback belongs to the domain of this call. What is still registered for the handle ends here.
inline void close(uv_handle_t* handle, uv_close_cb callback) {
  detail::Table::instance().erase(handle);
  if (!callback) return uv_close(handle, nullptr);
  detail::Registration(handle, detail::Slot::close, callback);
  uv_close(handle, &detail::Trampoline<detail::Slot::close, uv_close_cb>::of_request);
}
template <class Handle>
void close(Handle* handle, uv_close_cb callback) {
  close(reinterpret_cast<uv_handle_t*>(handle), callback);
}

// --- streams and UDP

namespace detail {

// libuv stops listening until the connection was accepted: if the callback threw before, it is accepted and
// closed here, so that the next ones are served.
inline void refuse(uv_stream_t* server) {
  const auto take = [&](auto* dropped, auto init) {
    if (init(dropped) == 0) uv_accept(server, reinterpret_cast<uv_stream_t*>(dropped));
    uv_close(reinterpret_cast<uv_handle_t*>(dropped),
             [](uv_handle_t* handle) { delete reinterpret_cast<decltype(dropped)>(handle); });
  };
  if (server->type == UV_TCP)
    take(new uv_tcp_t, [&](uv_tcp_t* tcp) { return uv_tcp_init(server->loop, tcp); });
  else
    take(new uv_pipe_t, [&](uv_pipe_t* pipe) { return uv_pipe_init(server->loop, pipe, 0); });
}

inline void on_connection(uv_stream_t* server, int status) noexcept {
  const bool done = call<uv_connection_cb>(Table::instance().get(server, Slot::event), server, status);
  if (!done && status == 0 && server->accepted_fd >= 0) refuse(server);
}

// Registers the callbacks of a read: both, or none.
template <class Callback, class Start>
int start_reading(const void* handle, uv_alloc_cb alloc, Callback callback, Start start) {
  if (!alloc || !callback) return start(alloc, callback);
  Registration memory(handle, Slot::alloc, alloc);
  Registration read(handle, Slot::read, callback);
  const int status =
      start(&Trampoline<Slot::alloc, uv_alloc_cb>::of_handle, &Trampoline<Slot::read, Callback>::of_handle);
  memory.result(status);
  return read.result(status);
}

}  // namespace detail

inline int listen(uv_stream_t* server, int backlog, uv_connection_cb callback) {
  if (!callback) return uv_listen(server, backlog, callback);
  return detail::Registration(server, detail::Slot::event, callback)
      .result(uv_listen(server, backlog, detail::on_connection));
}
inline int read_start(uv_stream_t* stream, uv_alloc_cb alloc, uv_read_cb callback) {
  return detail::start_reading(stream, alloc, callback,
                               [&](uv_alloc_cb a, uv_read_cb c) { return uv_read_start(stream, a, c); });
}
inline int read_stop(uv_stream_t* stream) {
  detail::Table::instance().let_go(stream, detail::Slot::alloc);
  return detail::stop(stream, detail::Slot::read, [&] { return uv_read_stop(stream); });
}
inline int udp_recv_start(uv_udp_t* udp, uv_alloc_cb alloc, uv_udp_recv_cb callback) {
  return detail::start_reading(udp, alloc, callback,
                               [&](uv_alloc_cb a, uv_udp_recv_cb c) { return uv_udp_recv_start(udp, a, c); });
}
inline int udp_recv_stop(uv_udp_t* udp) {
  detail::Table::instance().let_go(udp, detail::Slot::alloc);
  return detail::stop(udp, detail::Slot::read, [&] { return uv_udp_recv_stop(udp); });
}

// --- requests

inline int write(uv_write_t* request, uv_stream_t* stream, const uv_buf_t* buffers, unsigned count,
                 uv_write_cb callback) {
  return detail::begin(request, callback,
                       [&](uv_write_cb c) { return uv_write(request, stream, buffers, count, c); });
}
inline int write2(uv_write_t* request, uv_stream_t* stream, const uv_buf_t* buffers, unsigned count,
                  uv_stream_t* sent, uv_write_cb callback) {
  return detail::begin(request, callback,
                       [&](uv_write_cb c) { return uv_write2(request, stream, buffers, count, sent, c); });
}
inline int shutdown(uv_shutdown_t* request, uv_stream_t* stream, uv_shutdown_cb callback) {
  return detail::begin(request, callback, [&](uv_shutdown_cb c) { return uv_shutdown(request, stream, c); });
}
inline int tcp_connect(uv_connect_t* request, uv_tcp_t* tcp, const sockaddr* address,
                       uv_connect_cb callback) {
  return detail::begin(request, callback,
                       [&](uv_connect_cb c) { return uv_tcp_connect(request, tcp, address, c); });
}
inline void pipe_connect(uv_connect_t* request, uv_pipe_t* pipe, const char* name, uv_connect_cb callback) {
  detail::begin(request, callback, [&](uv_connect_cb c) {
    uv_pipe_connect(request, pipe, name, c);
    return 0;
  });
}
inline int udp_send(uv_udp_send_t* request, uv_udp_t* udp, const uv_buf_t* buffers, unsigned count,
                    const sockaddr* address, uv_udp_send_cb callback) {
  return detail::begin(request, callback, [&](uv_udp_send_cb c) {
    return uv_udp_send(request, udp, buffers, count, address, c);
  });
}
// Without a callback it waits, as in libuv.
inline int getaddrinfo(uv_loop_t* loop, uv_getaddrinfo_t* request, uv_getaddrinfo_cb callback,
                       const char* node, const char* service, const addrinfo* hints) {
  return detail::begin(request, callback, [&](uv_getaddrinfo_cb c) {
    return uv_getaddrinfo(loop, request, c, node, service, hints);
  });
}
inline int getnameinfo(uv_loop_t* loop, uv_getnameinfo_t* request, uv_getnameinfo_cb callback,
                       const sockaddr* address, int flags) {
  return detail::begin(request, callback,
                       [&](uv_getnameinfo_cb c) { return uv_getnameinfo(loop, request, c, address, flags); });
}
inline int random(uv_loop_t* loop, uv_random_t* request, void* buffer, std::size_t size, unsigned flags,
                  uv_random_cb callback) {
  return detail::begin(request, callback,
                       [&](uv_random_cb c) { return uv_random(loop, request, buffer, size, flags, c); });
}

// Any of the uv_fs_ functions: refork::uv::fs(uv_fs_open, loop, &request, path, O_RDONLY, 0, on_open).
template <class... Params, class... Args>
int fs(int (*function)(uv_loop_t*, uv_fs_t*, Params...), uv_loop_t* loop, uv_fs_t* request, Args&&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args), "the arguments of the function itself");
  std::tuple<Params...> all(std::forward<Args>(args)...);
  uv_fs_cb& last = std::get<sizeof...(Params) - 1>(all);
  return detail::begin(request, uv_fs_cb(last), [&](uv_fs_cb c) {
    last = c;
    return std::apply([&](Params... each) { return function(loop, request, each...); }, all);
  });
}

namespace detail {

inline void work(uv_work_t* request) noexcept {
  call<uv_work_cb>(Table::instance().get(request, Slot::read), request);
}

}  // namespace detail

// Both callbacks belong to the domain of this call. After a work callback that threw the other one is called
// all the same, with status 0: libuv knows nothing of it.
inline int queue_work(uv_loop_t* loop, uv_work_t* request, uv_work_cb work, uv_after_work_cb after_work) {
  if (!work) return UV_EINVAL;
  detail::Registration registered(request, detail::Slot::read, work);
  detail::Registration after(request, detail::Slot::event, after_work);
  return after.request(uv_queue_work(loop, request, detail::work,
                                     &detail::Trampoline<detail::Slot::event, uv_after_work_cb>::of_request));
}

}  // namespace refork::uv
