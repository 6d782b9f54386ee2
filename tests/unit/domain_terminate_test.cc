// What a process says before std::terminate ends it: once, with the domain in which it happened.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <semaphore>
#include <thread>

#include "domain/hooks.h"
#include "unit/domain_support.h"

namespace refork::test {
namespace {

// Prints what is recorded, as a Worker would write it down.
class PrintingSink final : public domain::Sink {
 public:
  PrintingSink() { domain::set_sink(this); }
  ~PrintingSink() override { domain::set_sink(nullptr); }
  void record(Failure& failure, Then, std::uint64_t request) noexcept override {
    std::fprintf(stderr, "kind=%d type=%s message=%s domain=%s request=%d thrown=%d stack=%d\n",
                 static_cast<int>(failure.kind), failure.type.c_str(), failure.message.c_str(),
                 failure.domain.c_str(), static_cast<int>(request), failure.thrown, !failure.stack.empty());
  }
};

template <class F>
void in_a_domain(F f) {
  PrintingSink sink;
  Domain domain("request");
  domain.on_error([](const Failure&) { std::fputs("captured\n", stderr); });
  domain::set_request(domain, 5);
  domain.run(f);
}

TEST(TerminateDeathTest, AThrowOutOfNoexceptIsRecordedWithItsDomain) {
  EXPECT_DEATH(in_a_domain([]() noexcept { throw_error("no way out"); }),
               "kind=3 type=std::runtime_error message=no way out domain=request request=5 thrown=1 stack=1");
}

TEST(TerminateDeathTest, TerminateItselfIsRecordedWithItsDomain) {
  EXPECT_DEATH(in_a_domain([] { std::terminate(); }),
               "kind=3 type= message=std::terminate was called domain=request request=5 thrown=0 stack=1");
}

TEST(TerminateDeathTest, AThreadThatIsNotJoinedIsRecorded) {
  EXPECT_DEATH(in_a_domain([] { std::thread forgotten([] {}); }),
               "message=std::terminate was called domain=request");
}

TEST(TerminateDeathTest, AWhatThatThrowsIsRecorded) {
  struct Hostile : std::exception {
    const char* what() const noexcept override { throw_error("from what()"); }
  };
  EXPECT_DEATH(in_a_domain([] { throw Hostile(); }), "kind=3 type=std::runtime_error message=from what()");
}

TEST(TerminateDeathTest, AnErrorOnAThreadWithoutDomainsIsRecorded) {
  EXPECT_DEATH(
      {
        PrintingSink sink;
        on_a_thread([] { throw_error("nobody's"); });
      },
      "kind=3 type=std::runtime_error message=nobody's domain= request=0 thrown=1 stack=1");
}

// Gives a second thread the time to end the process in the midst of the recording.
class InterruptedSink final : public domain::Sink {
 public:
  InterruptedSink() { domain::set_sink(this); }
  ~InterruptedSink() override { domain::set_sink(nullptr); }
  void record(Failure& failure, Then, std::uint64_t) noexcept override {
    std::thread([] { std::terminate(); }).detach();
    EXPECT_FALSE(interrupted.try_acquire_for(std::chrono::milliseconds(300)));
    std::fprintf(stderr, "message=%s\n", failure.message.c_str());
  }
  static inline std::binary_semaphore interrupted{0};
};

TEST(TerminateDeathTest, AThreadThatComesSecondDoesNotCutTheRecordOfTheFirstShort) {
  EXPECT_DEATH(
      {
        std::set_terminate([] {
          InterruptedSink::interrupted.release();
          std::abort();
        });
        InterruptedSink sink;
        on_a_thread([] { throw_error("the first"); });
      },
      "message=the first");
}

TEST(TerminateDeathTest, TheHandlerThatWasThereIsCalledAfterIt) {
  EXPECT_DEATH(
      {
        std::set_terminate([] {
          std::fprintf(stderr, "the program's own handler, in a domain: %d\n", bool(Domain::current()));
          std::abort();
        });
        in_a_domain([] { std::terminate(); });
      },
      "message=std::terminate was called.*\n.*the program's own handler, in a domain: 0");
}

TEST(TerminateDeathTest, AHandlerThatTheProgramSetsLaterIsLeftAlone) {
  EXPECT_DEATH(
      {
        PrintingSink sink;
        std::set_terminate([] {
          std::fputs("later\n", stderr);
          std::abort();
        });
        domain::set_sink(nullptr);
        std::terminate();
      },
      "later");
}

TEST(TerminateDeathTest, HandlersThatCallEachOtherEndAllTheSame) {
  EXPECT_DEATH(
      {
        PrintingSink first;
        static const std::terminate_handler ours = std::get_terminate();
        std::set_terminate([] {
          std::fputs("chained\n", stderr);
          ours();
        });
        domain::set_sink(&first);
        std::terminate();
      },
      "chained");
}

class TerminatingSink final : public domain::Sink {
 public:
  TerminatingSink() { domain::set_sink(this); }
  ~TerminatingSink() override { domain::set_sink(nullptr); }
  void record(Failure&, Then, std::uint64_t) noexcept override {
    if (recording_.test_and_set()) std::fputs("recorded twice\n", stderr);
    std::fputs("recording\n", stderr);
    std::terminate();
  }

 private:
  std::atomic_flag recording_ = ATOMIC_FLAG_INIT;
};

TEST(TerminateDeathTest, ARecordThatTerminatesIsNotRecordedAgain) {
  EXPECT_DEATH(
      {
        TerminatingSink sink;
        Domain domain;
        domain.on_error([](const Failure&) {});
        domain.run([] { throw_error(); });
      },
      "^recording\n(terminate called.*\n.*)?$");
}

TEST(Terminate, WithoutASinkTheProgramsHandlerIsBack) {
  const auto before = std::get_terminate();
  {
    PrintingSink sink;
    EXPECT_NE(std::get_terminate(), before);
  }
  EXPECT_EQ(std::get_terminate(), before);
}

}  // namespace
}  // namespace refork::test
