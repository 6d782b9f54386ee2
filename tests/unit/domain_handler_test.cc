// What a handler is given, where it runs, and what becomes of its own errors.
#include <gtest/gtest.h>
#include <unwind.h>

#include <cstring>
#include <memory>

#include "unit/domain_support.h"

extern "C" void foreign_call(void (*callback)(void*), void* argument);
extern "C" void throw_hidden_error();
extern "C" void throw_hidden_number();

namespace refork::test {
namespace {

Failure captured(const std::function<void()>& body) {
  Domain d("d");
  Seen seen;
  d.on_error(seen.handler());
  d.run(body);
  EXPECT_EQ(seen.count(), 1u);
  return seen.count() ? seen.last() : Failure();
}

struct Described {
  std::function<void()> thrower;
  std::string type;
  std::string message;
};

// D22
TEST(FailureDescription, SaysTypeAndValueOfWhateverIsThrown) {
  const std::vector<Described> cases = {
      {[] { throw std::runtime_error("boom"); }, "std::runtime_error", "boom"},
      {[] { throw 42; }, "int", "42"},
      {[] { throw 7u; }, "unsigned int", "7"},
      {[] { throw -3L; }, "long", "-3"},
      {[] { throw true; }, "bool", "true"},
      {[] { throw 'x'; }, "char", "x"},
      {[] { throw 1.5; }, "double", "1.500000"},
      {[] { throw "literal"; }, "char const*", "literal"},
      {[] { throw static_cast<const char*>(nullptr); }, "char const*", "(null)"},
      {[] { throw nullptr; }, "decltype(nullptr)", "(null)"},
      {[] { throw std::string("text"); }, "std::string", "text"},
      {[] { throw std::string_view("view"); }, "std::string_view", "view"},
      {[] { throw std::make_error_code(std::errc::timed_out); }, "std::error_code", "Connection timed out"},
      {[] { throw std::vector<std::string>(); }, "std::vector<std::string, std::allocator<std::string > >",
       ""},
  };
  for (const Described& expected : cases) {
    Failure failure = captured(expected.thrower);
    EXPECT_EQ(failure.type, expected.type);
    EXPECT_EQ(failure.message, expected.message);
    EXPECT_TRUE(failure.exception);
  }
}

// D23
TEST(FailureDescription, SurvivesAHostileWhat) {
  struct Null : std::exception {
    const char* what() const noexcept override { return nullptr; }
  };
  EXPECT_EQ(captured([] { throw Null(); }).message, "(what() is null)");
}

enum class Fault {
  broken = 3
};

struct MoveOnly {
  explicit MoveOnly(int v) : value(std::make_unique<int>(v)) {}
  std::unique_ptr<int> value;
};

TEST(FailureDescription, KeepsTheIdentityOfWhateverIsThrown) {
  const auto caught_as = [](auto expected, auto thrower) {
    const Failure failure = captured(thrower);
    try {
      std::rethrow_exception(failure.exception);
    } catch (decltype(expected) thrown) {  // NOLINT: clang++ errs in a reference to a rethrown pointer
      return thrown == expected;
    } catch (...) {
      return false;
    }
  };
  static int object = 1;
  EXPECT_TRUE(caught_as(42, [] { throw 42; }));
  EXPECT_TRUE(caught_as(&object, [] { throw &object; }));
  EXPECT_TRUE(caught_as(std::string("text"), [] { throw std::string("text"); }));
  EXPECT_TRUE(caught_as(Fault::broken, [] { throw Fault::broken; }));
  EXPECT_TRUE(caught_as(nullptr, [] { throw nullptr; }));
}

TEST(FailureDescription, OfAMoveOnlyTypeKeepsTheObjectItself) {
  const Failure failure = captured([] { throw MoveOnly(17); });
  EXPECT_NE(failure.type.find("MoveOnly"), std::string::npos);
  try {
    std::rethrow_exception(failure.exception);
  } catch (const MoveOnly& thrown) {
    EXPECT_EQ(*thrown.value, 17);
  }
}

TEST(FailureDescription, OfATypeThatAnotherLibraryHidesHasItsNameAndMessage) {
  const Failure hidden = captured([] { throw_hidden_error(); });
  EXPECT_EQ(hidden.type, "HiddenError");
  EXPECT_EQ(hidden.message, "hidden in another library");
  const Failure number = captured([] { throw_hidden_number(); });
  EXPECT_EQ(number.type, "HiddenNumber");
  EXPECT_TRUE(number.exception);
}

TEST(FailureDescription, TellsNestedCausesOutermostFirstUpToALimit) {
  std::function<void(int)> nest = [&](int depth) {
    if (depth == 0) throw 5;
    try {
      nest(depth - 1);
    } catch (...) {
      std::throw_with_nested(std::runtime_error(std::to_string(depth)));
    }
  };
  Failure failure = captured([&] { nest(2); });
  ASSERT_EQ(failure.causes.size(), 2u);
  EXPECT_EQ(failure.message, "2");
  EXPECT_EQ(failure.causes[0].message, "1");
  EXPECT_EQ(failure.causes[1].type, "int");
  EXPECT_EQ(captured([&] { nest(8); }).causes.size(), 8u);
  EXPECT_EQ(captured([&] { nest(9); }).causes.size(), 8u);
}

TEST(FailureDescription, ANestedExceptionOfNothingIsNoCause) {
  EXPECT_TRUE(captured([] { std::throw_with_nested(std::runtime_error("alone")); }).causes.empty());
}

// The raise of another language's runtime.
TEST(FailureDescription, AForeignExceptionIsCapturedAndDeleted) {
  static bool deleted;
  deleted = false;
  Failure failure = captured([] {
    static _Unwind_Exception foreign;
    std::memset(&foreign, 0, sizeof foreign);
    std::memcpy(&foreign.exception_class, "TSERFGNR", sizeof foreign.exception_class);
    foreign.exception_cleanup = [](_Unwind_Reason_Code, _Unwind_Exception*) { deleted = true; };
    _Unwind_RaiseException(&foreign);
  });
  EXPECT_EQ(failure.type, "foreign exception");
  EXPECT_FALSE(failure.exception);
  EXPECT_TRUE(deleted);
}

__attribute__((noinline)) void known_thrower() { throw_error(); }

bool has_frame_in(const Failure& failure, void (*function)(), std::size_t newest) {
  for (std::size_t i = 0; i < failure.stack.size() && i < newest; ++i)
    if (_Unwind_FindEnclosingFunction(failure.stack[i]) == reinterpret_cast<void*>(function)) return true;
  return false;
}

TEST(FailureStack, IsThatOfTheThrowAndNotOfTheCatch) {
  Failure failure = captured([] {
    known_thrower();
    asm volatile("");
  });
  EXPECT_TRUE(has_frame_in(failure, &known_thrower, 2));
  EXPECT_FALSE(failure.rethrown);
}

TEST(FailureStack, PassesThroughTheFramesOfAnotherLibrary) {
  Failure failure = captured([] { foreign_call([](void*) { known_thrower(); }, nullptr); });
  EXPECT_TRUE(has_frame_in(failure, &known_thrower, 2));
  EXPECT_TRUE(has_frame_in(failure, reinterpret_cast<void (*)()>(&foreign_call), 8));
  EXPECT_EQ(failure.message, "boom");
}

TEST(FailureStack, OfADeepRecursionKeepsTheNewest128) {
  static int (*deep)(int);
  deep = [](int depth) -> int {
    if (depth == 0) throw_error();
    int below = deep(depth - 1);
    asm volatile("" : "+r"(below));
    return below;
  };
  EXPECT_EQ(captured([] { deep(1000); }).stack.size(), 128u);
  EXPECT_LT(captured([] { deep(10); }).stack.size(), 64u);
}

TEST(FailureStack, IsNotAlteredByADestructorThatThrowsAndCatches) {
  struct Noisy {
    ~Noisy() {
      Domain inner;
      inner.on_error([](const Failure&) {});
      inner.run([] { throw 1; });
    }
  };
  Failure failure = captured([] {
    Noisy noisy;
    known_thrower();
  });
  EXPECT_TRUE(has_frame_in(failure, &known_thrower, 2));
  EXPECT_EQ(failure.message, "boom");
}

TEST(DomainContext, IsCopiedIntoFailuresOwnFirst) {
  Domain outer("outer");
  Domain inner("inner");
  Seen seen;
  inner.on_error(seen.handler());
  outer.set("tenant", "t1");
  outer.set("user", "outer's");
  inner.set("user", "u7");
  inner.set("user", "u8");
  EXPECT_EQ(inner.get("user"), "u8");
  EXPECT_EQ(inner.get("tenant"), std::nullopt);
  outer.run([&] { inner.run([] { throw_error(); }); });
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(seen.last().context, (Pairs{{"user", "u8"}, {"tenant", "t1"}}));
}

TEST(FailureDomains, AreTheSixteenInnermostAndTheOneThatCaptured) {
  std::vector<Domain> domains(20);
  Seen seen;
  Domain outer("outer");
  outer.on_error(seen.handler());
  std::function<void(std::size_t)> nest = [&](std::size_t left) {
    if (left == 0) throw_error();
    domains[left].run([&] { nest(left - 1); });
  };
  outer.run([&] { nest(15); });
  EXPECT_EQ(seen.last().domains.size(), 16u);
  EXPECT_EQ(seen.last().domains.back(), "outer");
  outer.run([&] { nest(17); });
  EXPECT_EQ(seen.last().domains.size(), 17u);
  EXPECT_EQ(seen.last().domains.back(), "outer");
}

// D24
TEST(DomainHandler, RunsOutsideItsOwnDomainAndAdjacentDuplicates) {
  Domain outer("outer");
  Domain d("d");
  std::vector<Domain> active;
  d.on_error([&](const Failure&) { active.push_back(Domain::current()); });
  d.run([] { throw_error(); });
  d.run([&] { d.run([] { throw_error(); }); });
  outer.run([&] { d.run([&] { d.run([] { throw_error(); }); }); });
  outer.run([&] {
    d.run([&] {
      d.report(std::make_exception_ptr(1));
      EXPECT_EQ(Domain::current(), d);
    });
  });
  EXPECT_EQ(active, (std::vector<Domain>{Domain::empty(), Domain::empty(), outer, outer}));
}

TEST(DomainHandler, WhatItSchedulesBelongsToTheParent) {
  Domain outer("outer");
  Domain d("d");
  Domain scheduled_in = d;
  d.on_error([&](const Failure&) { scheduled_in = refork::bind([] {}).domain(); });
  outer.run([&] { d.run([] { throw_error(); }); });
  EXPECT_EQ(scheduled_in, outer);
}

TEST(DomainHandler, AScopeThatItEndsIsOffTheStackAfterIt) {
  Domain d("d");
  auto scope = std::unique_ptr<Scope>(new Scope(d.enter()));
  d.on_error([&](const Failure&) { scope.reset(); });
  d.run([] { throw_error(); });
  EXPECT_FALSE(Domain::current());
}

TEST(DomainHandler, SeesTheErrorAsTheCurrentException) {
  Domain d;
  std::string message;
  d.on_error([&](const Failure&) {
    try {
      throw;
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
  });
  d.run([] { throw_error("current"); });
  EXPECT_EQ(message, "current");
}

TEST(DomainHandler, MayThrowAndCatchInsideItself) {
  Domain outer("outer");
  Domain d;
  Seen seen;
  outer.on_error(seen.handler());
  d.on_error([](const Failure&) { EXPECT_THROW(throw_error(), std::runtime_error); });
  EXPECT_TRUE(outer.run([&] { EXPECT_FALSE(d.run([] { throw_error(); })); }));
  EXPECT_EQ(seen.count(), 0u);
}

// D28
TEST(HandlerError, GoesOutwardWithTheOriginalAsItsCause) {
  Domain outer("outer");
  Domain middle("middle");
  Domain inner("inner");
  Seen seen;
  outer.on_error(seen.handler());
  middle.on_error([](const Failure&) { throw std::logic_error("third"); });
  inner.on_error([](const Failure&) { throw std::logic_error("second"); });
  inner.set("user", "u7");
  EXPECT_FALSE(outer.run([&] { middle.run([&] { inner.run([] { throw_error("first"); }); }); }));
  ASSERT_EQ(seen.count(), 1u);
  const Failure& failure = seen.last();
  EXPECT_EQ(failure.kind, Kind::handler);
  EXPECT_EQ(failure.message, "third");
  ASSERT_EQ(failure.causes.size(), 2u);
  EXPECT_EQ(failure.causes[0].message, "second");
  EXPECT_EQ(failure.causes[1].message, "first");
  ASSERT_TRUE(failure.original && failure.original->original);
  EXPECT_EQ(failure.original->kind, Kind::handler);
  EXPECT_EQ(failure.original->original->message, "first");
  EXPECT_EQ(failure.context.size(), 1u);
}

TEST(HandlerError, IsSeenByACatchOnItsWay) {
  Domain d;
  d.on_error([](const Failure&) { throw std::logic_error("second"); });
  EXPECT_THROW(d.run([] { throw_error(); }), std::logic_error);
  EXPECT_FALSE(Domain::current());
  EXPECT_EQ(std::uncaught_exceptions(), 0);
}

TEST(HandlerError, OnceCaughtColoursNoLaterError) {
  Domain outer("outer");
  Domain inner("inner");
  Seen seen;
  outer.on_error(seen.handler());
  inner.on_error([](const Failure&) { throw std::runtime_error("second"); });
  outer.run([&] {
    EXPECT_THROW(inner.run([] { throw_error("first"); }), std::runtime_error);
    throw std::runtime_error("unrelated");
  });
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().kind, Kind::exception);
  EXPECT_EQ(seen.last().message, "unrelated");
  EXPECT_FALSE(seen.last().original);
}

// D30
TEST(HandlerError, IsNotGivenToAdjacentEntriesOfTheSameDomain) {
  Domain d("d");
  int handled = 0;
  d.on_error([&](const Failure&) {
    ++handled;
    throw std::logic_error("again");
  });
  EXPECT_THROW(d.run([&] { d.run([&] { d.run([] { throw_error(); }); }); }), std::logic_error);
  EXPECT_EQ(handled, 1);
}

TEST(HandlerError, OfABAGoesToBAndThenToA) {
  Domain a("a");
  Domain b("b");
  std::vector<std::string> order;
  a.on_error([&](const Failure& failure) {
    order.push_back("a:" + failure.message);
    if (order.size() == 1) throw std::logic_error("from a");
  });
  b.on_error([&](const Failure& failure) {
    order.push_back("b:" + failure.message);
    throw std::logic_error("from b");
  });
  EXPECT_FALSE(a.run([&] { b.run([&] { a.run([] { throw_error("first"); }); }); }));
  EXPECT_EQ(order, (std::vector<std::string>{"a:first", "b:from a", "a:from b"}));
}

TEST(HandlerError, OfTheSameDomainDuringItsHandlerGoesOutward) {
  Domain outer("outer");
  Domain d("d");
  Seen seen;
  outer.on_error(seen.handler());
  int handled = 0;
  d.on_error([&](const Failure&) {
    ++handled;
    d.run([] { throw std::logic_error("meanwhile"); });
  });
  outer.run([&] { d.run([] { throw_error(); }); });
  EXPECT_EQ(handled, 1);
  ASSERT_EQ(seen.count(), 1u);
  EXPECT_EQ(seen.last().message, "meanwhile");
  EXPECT_EQ(seen.last().kind, Kind::handler);
}

TEST(HandlerError, AReportDuringTheHandlerGoesOutward) {
  Domain d("d");
  d.on_error([&](const Failure&) { d.report(std::make_exception_ptr(std::logic_error("reported"))); });
  EXPECT_THROW(d.run([] { throw_error(); }), std::logic_error);
}

TEST(HandlerError, OfAReportGoesToItsCallerAndTheStackIsRestored) {
  Domain outer("outer");
  Domain d("d");
  d.on_error([](const Failure&) { throw std::logic_error("second"); });
  outer.run([&] {
    auto scope = d.enter();
    EXPECT_THROW(d.report(std::make_exception_ptr(1)), std::logic_error);
    EXPECT_EQ(Domain::current(), d);
  });
}

TEST(HandlerErrorDeathTest, OfTheOutermostTerminatesAtTheThrow) {
  EXPECT_DEATH(on_a_thread([] {
                 static bool unwound = false;
                 std::set_terminate([] {
                   std::fprintf(stderr, "unwound=%d\n", unwound);
                   std::abort();
                 });
                 Domain d;
                 d.on_error([](const Failure&) {
                   Unwound guard{unwound};
                   throw std::logic_error("second");
                 });
                 d.bind([] { throw_error(); })();
               }),
               "unwound=0");
}

}  // namespace
}  // namespace refork::test
