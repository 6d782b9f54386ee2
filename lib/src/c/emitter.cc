// Emitters for C: what a program reports errors through. One made in C++ may be passed in, too; those
// made here know besides whether they have a listener.
#include <algorithm>

#include "c/error.h"

using namespace refork;
using c::unwrap;
using c::wrap;

namespace {

class CMember final : public Emitter {
 public:
  using Emitter::Emitter;
  bool listens = false;
};

Emitter& unwrap_member(const refork_emitter* emitter) {
  return *reinterpret_cast<Emitter*>(const_cast<refork_emitter*>(emitter));
}

int report_to(Emitter& emitter, Failure failure, const void* caller) {
  const auto* const ours = dynamic_cast<const CMember*>(&emitter);
  if (!ours || ours->listens) {
    emitter.report(std::move(failure));
    return 0;
  }
  failure.emitter = emitter.name();
  const Domain domain = emitter.domain();
  return c::report(detail::State::of(domain), std::move(failure), caller);
}

}  // namespace

extern "C" {

refork_emitter* refork_emitter_new(const char* name) {
  Emitter* made = nullptr;
  c::guarded([&] { made = new CMember(c::or_empty(name)); });
  return reinterpret_cast<refork_emitter*>(made);
}

void refork_emitter_free(refork_emitter* emitter) {
  if (emitter) delete &unwrap_member(emitter);
}

const char* refork_emitter_name(const refork_emitter* emitter) {
  return unwrap_member(emitter).name().c_str();
}

refork_domain* refork_emitter_domain(const refork_emitter* emitter) {
  const Domain domain = unwrap_member(emitter).domain();
  return refork_domain_ref(wrap(detail::State::of(domain)));
}

int refork_emitter_on_error(refork_emitter* emitter, refork_handler listener, void* arg,
                            refork_free free_arg) {
  return c::guarded([&] {
    c::CHandler made(nullptr, listener, arg);
    unwrap_member(emitter).on_error(made.handler());
    made.free_with(free_arg);
    if (auto* ours = dynamic_cast<CMember*>(&unwrap_member(emitter))) ours->listens = listener != nullptr;
  });
}

__attribute__((noinline)) int refork_emitter_report(refork_emitter* emitter, const refork_error* error) {
  const void* caller = __builtin_extract_return_addr(__builtin_return_address(0));
  int result = 0;
  const int described =
      c::guarded([&] { result = report_to(unwrap_member(emitter), c::describe(*error), caller); });
  return described ? described : result;
}

int refork_emitter_call(refork_emitter* emitter, refork_function function, void* arg) {
  refork_domain* domain = refork_emitter_domain(emitter);
  const int result = refork_call_in(domain, refork_emitter_name(emitter), function, arg);
  refork_domain_unref(domain);
  return result;
}

int refork_domain_add(refork_domain* domain, refork_emitter* emitter) {
  return c::guarded([&] { detail::State::handle(unwrap(domain)).add(unwrap_member(emitter)); });
}

int refork_domain_remove(refork_domain* domain, refork_emitter* emitter) {
  return c::guarded([&] { detail::State::handle(unwrap(domain)).remove(unwrap_member(emitter)); });
}

size_t refork_domain_members(const refork_domain* domain, refork_emitter** members, size_t size) {
  std::size_t found = 0;
  c::guarded([&] {
    const auto all = detail::State::handle(unwrap(domain)).members();
    found = all.size();
    for (std::size_t i = 0; i < std::min(found, size); ++i)
      members[i] = reinterpret_cast<refork_emitter*>(all[i]);
  });
  return found;
}
}
