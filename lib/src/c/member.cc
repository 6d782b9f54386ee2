// Members for C: what a program reports errors through. A member made in C++ may be passed in, too; those
// made here know besides whether they have a listener.
#include <algorithm>

#include "c/error.h"

using namespace refork;
using c::unwrap;
using c::wrap;

namespace {

class CMember final : public Member {
 public:
  using Member::Member;
  bool listens = false;
};

Member& unwrap_member(const refork_member* member) {
  return *reinterpret_cast<Member*>(const_cast<refork_member*>(member));
}

int report_to(Member& member, Failure failure, const void* caller) {
  const auto* const ours = dynamic_cast<const CMember*>(&member);
  if (!ours || ours->listens) {
    member.report(std::move(failure));
    return 0;
  }
  failure.emitter = member.name();
  const Domain domain = member.domain();
  return c::report(detail::State::of(domain), std::move(failure), caller);
}

}  // namespace

extern "C" {

refork_member* refork_member_new(const char* name) {
  Member* made = nullptr;
  c::guarded([&] { made = new CMember(c::or_empty(name)); });
  return reinterpret_cast<refork_member*>(made);
}

void refork_member_free(refork_member* member) {
  if (member) delete &unwrap_member(member);
}

const char* refork_member_name(const refork_member* member) { return unwrap_member(member).name().c_str(); }

refork_domain* refork_member_domain(const refork_member* member) {
  const Domain domain = unwrap_member(member).domain();
  return refork_domain_ref(wrap(detail::State::of(domain)));
}

int refork_member_on_error(refork_member* member, refork_handler listener, void* arg, refork_free free_arg) {
  return c::guarded([&] {
    c::CHandler made(nullptr, listener, arg);
    unwrap_member(member).on_error(made.handler());
    made.free_with(free_arg);
    if (auto* ours = dynamic_cast<CMember*>(&unwrap_member(member))) ours->listens = listener != nullptr;
  });
}

__attribute__((noinline)) int refork_member_report(refork_member* member, const refork_error* error) {
  const void* caller = __builtin_extract_return_addr(__builtin_return_address(0));
  int result = 0;
  const int described =
      c::guarded([&] { result = report_to(unwrap_member(member), c::describe(*error), caller); });
  return described ? described : result;
}

int refork_member_call(refork_member* member, refork_function function, void* arg) {
  refork_domain* domain = refork_member_domain(member);
  const int result = refork_call_in(domain, refork_member_name(member), function, arg);
  refork_domain_unref(domain);
  return result;
}

int refork_domain_add(refork_domain* domain, refork_member* member) {
  return c::guarded([&] { detail::State::handle(unwrap(domain)).add(unwrap_member(member)); });
}

int refork_domain_remove(refork_domain* domain, refork_member* member) {
  return c::guarded([&] { detail::State::handle(unwrap(domain)).remove(unwrap_member(member)); });
}

size_t refork_domain_members(const refork_domain* domain, refork_member** members, size_t size) {
  std::size_t found = 0;
  c::guarded([&] {
    const auto all = detail::State::handle(unwrap(domain)).members();
    found = all.size();
    for (std::size_t i = 0; i < std::min(found, size); ++i)
      members[i] = reinterpret_cast<refork_member*>(all[i]);
  });
  return found;
}
}
