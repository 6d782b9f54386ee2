// Domains and bound callbacks for C: nothing but the C++ ones under other names. What a domain does with an
// error is domain/capture.cc's.
#include <cerrno>
#include <cstring>
#include <new>

#include "c/error.h"
#include "domain/capture.h"
#include "domain/stack.h"

using namespace refork;
using c::unwrap;
using c::wrap;

struct refork_callback {
  Domain domain;
  refork_function function;
  void* arg;
  std::string label;
};

namespace {

static_assert(sizeof(Scope) <= sizeof(refork_scope));
static_assert(alignof(Scope) <= alignof(refork_scope));

static_assert(static_cast<int>(Then::drain) == REFORK_THEN_DRAIN);
static_assert(static_cast<int>(Then::serve) == REFORK_THEN_SERVE);

using OnError = void (Domain::*)(Domain::Handler, Then) const;
int set_handler(refork_domain* domain, OnError setter, refork_handler handler, void* arg,
                refork_free free_arg, const refork_then& then) noexcept {
  if (!domain) return c::fail(EINVAL, "no domain is given");
  if (!c::is_then(then)) return c::fail(EINVAL, "no such refork_then");
  detail::State* state = unwrap(domain);
  return c::guarded([&] {
    c::CHandler made(state, handler, arg);
    (detail::State::handle(state).*setter)(made.handler(), static_cast<Then>(then));
    made.free_with(free_arg);
  });
}

struct Call {
  refork_function function;
  void* arg;
  void operator()() const { function(arg); }
};

int call_bound(detail::State* state, const std::string& label, Call call) noexcept {
  return detail::run_bound(state, label, detail::thunk<Call>(), &call).done ? 0 : -ECANCELED;
}

}  // namespace

extern "C" {

refork_domain* refork_domain_new(const char* name) {
  detail::State* state = nullptr;
  c::guarded([&] { state = new detail::State(c::or_empty(name)); });
  return wrap(state);
}

refork_domain* refork_domain_ref(refork_domain* domain) {
  detail::retain(unwrap(domain));
  return domain;
}

void refork_domain_unref(refork_domain* domain) { detail::release(unwrap(domain)); }

const char* refork_domain_name(const refork_domain* domain) {
  return domain ? unwrap(domain)->name.c_str() : "";
}

refork_domain* refork_domain_current(void) {
  detail::State* state = detail::this_thread.top ? detail::this_thread.top->state : nullptr;
  detail::retain(state);
  return wrap(state);
}

void refork_domain_enter(refork_domain* domain, refork_scope* scope) {
  ::new (static_cast<void*>(scope)) Scope(detail::State::handle(unwrap(domain)).enter());
}

void refork_domain_exit(refork_scope* scope) { std::launder(reinterpret_cast<Scope*>(scope))->~Scope(); }

int refork_domain_run(refork_domain* domain, refork_function function, void* arg) {
  Call call{function, arg};
  return detail::run_for_c(unwrap(domain), detail::thunk<Call>(), &call).done ? 0 : -ECANCELED;
}

int refork_call_in(refork_domain* domain, const char* label, refork_function function, void* arg) {
  const std::string none;
  if (!label || !*label) return call_bound(unwrap(domain), none, {function, arg});
  try {
    const std::string text(label);
    return call_bound(unwrap(domain), text, {function, arg});
  } catch (const std::bad_alloc&) {
    return call_bound(unwrap(domain), none, {function, arg});
  }
}

int refork_domain_on_error(refork_domain* domain, refork_handler handler, void* arg, refork_free free_arg,
                           refork_then then) {
  return set_handler(domain, &Domain::on_error, handler, arg, free_arg, then);
}

int refork_domain_also_on_error(refork_domain* domain, refork_handler handler, void* arg,
                                refork_free free_arg, refork_then then) {
  return set_handler(domain, &Domain::also_on_error, handler, arg, free_arg, then);
}

int refork_observe_failures(refork_handler observer, void* arg, refork_free free_arg) {
  return c::guarded([&] {
    c::CHandler made(nullptr, observer, arg);
    observe_failures(made.handler());
    made.free_with(free_arg);
  });
}

int refork_domain_set_parent(refork_domain* child, refork_domain* parent) {
  return c::guarded([&] {
    const Domain named = detail::State::handle(unwrap(child));
    if (parent) return detail::State::handle(unwrap(parent)).add(named);
    if (const Domain before = named.parent()) before.remove(named);
  });
}

refork_domain* refork_domain_parent(const refork_domain* domain) {
  const Domain parent = detail::State::handle(unwrap(domain)).parent();
  return refork_domain_ref(wrap(detail::State::of(parent)));
}

__attribute__((noinline)) int refork_report(refork_domain* domain, const refork_error* error) {
  const void* caller = __builtin_extract_return_addr(__builtin_return_address(0));
  int result = 0;
  const int described = c::guarded([&] { result = c::report(unwrap(domain), c::describe(*error), caller); });
  return described ? described : result;
}

__attribute__((noinline)) int refork_report_errno(refork_domain* domain, int code, const char* message) {
  const void* caller = __builtin_extract_return_addr(__builtin_return_address(0));
  const refork_error error = {sizeof(refork_error), nullptr, code, message};
  int result = 0;
  const int described = c::guarded([&] { result = c::report(unwrap(domain), c::describe(error), caller); });
  return described ? described : result;
}

int refork_domain_set(refork_domain* domain, const char* key, const char* value) {
  return c::guarded([&] { detail::State::handle(unwrap(domain)).set(key, c::or_empty(value)); });
}

long refork_domain_get(const refork_domain* domain, const char* key, char* buffer, size_t size) {
  long length = -ENOENT;
  const int failed = c::guarded([&] {
    const auto value = detail::State::handle(unwrap(domain)).get(key);
    if (!value) return;
    length = static_cast<long>(value->size());
    if (size == 0) return;
    const std::size_t copied = std::min(value->size(), size - 1);
    std::memcpy(buffer, value->data(), copied);
    buffer[copied] = '\0';
  });
  return failed ? failed : length;
}

refork_callback* refork_domain_bind(refork_domain* domain, refork_function function, void* arg,
                                    const char* label) {
  refork_callback* made = nullptr;
  c::guarded([&] {
    made = new refork_callback{detail::State::handle(unwrap(domain)), function, arg, c::or_empty(label)};
  });
  return made;
}

refork_callback* refork_bind(refork_function function, void* arg, const char* label) {
  detail::State* active = detail::this_thread.top ? detail::this_thread.top->state : nullptr;
  return refork_domain_bind(wrap(active), function, arg, label);
}

void refork_callback_free(refork_callback* callback) { delete callback; }

int refork_call(const refork_callback* callback) {
  const Domain domain = callback->domain;  // it may be freed meanwhile
  std::string label;
  c::guarded([&] { label = callback->label; });
  return call_bound(detail::State::of(domain), label, {callback->function, callback->arg});
}

void refork_call_once(void* callback) {
  auto* const once = static_cast<refork_callback*>(callback);
  call_bound(detail::State::of(once->domain), once->label, {once->function, once->arg});
  delete once;
}
}
