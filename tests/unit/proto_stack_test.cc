#include "proto/stack.h"

#include <gtest/gtest.h>

namespace refork::proto {
namespace {

TEST(QualifiedName, LeavesOutReturnTypeAndParameters) {
  EXPECT_EQ(qualified_name("app::parse(std::string const&)"), "app::parse");
  EXPECT_EQ(qualified_name("main"), "main");
  EXPECT_EQ(qualified_name("void std::sort<int*>(int*, int*)"), "std::sort<int*>");
  EXPECT_EQ(qualified_name("std::enable_if<true, void>::type std::__invoke_r<void, app::F&>(app::F&)"),
            "std::__invoke_r<void, app::F&>");
  EXPECT_EQ(qualified_name("decltype ((x)((y)())) app::call<int>(int)"), "app::call<int>");
  EXPECT_EQ(qualified_name("decltype(auto) app::call<int>(int)"), "app::call<int>");
  EXPECT_EQ(qualified_name(""), "");
}

TEST(QualifiedName, KeepsUnnamedScopesAndOperators) {
  EXPECT_EQ(qualified_name("(anonymous namespace)::go(int)"), "(anonymous namespace)::go");
  EXPECT_EQ(qualified_name("app::(anonymous namespace)::go(int)"), "app::(anonymous namespace)::go");
  EXPECT_EQ(qualified_name("main::{lambda(int)#1}::operator()(int) const"),
            "main::{lambda(int)#1}::operator()");
  EXPECT_EQ(qualified_name("std::ostream& app::operator<<(std::ostream&, app::X)"), "app::operator<<");
  EXPECT_EQ(qualified_name("app::X::operator bool() const"), "app::X::operator bool");
  EXPECT_EQ(qualified_name("app::my_operator(int)"), "app::my_operator");
  EXPECT_EQ(qualified_name("std::function<void (int)>::operator()(int) const"),
            "std::function<void (int)>::operator()");
}

TEST(QualifiedName, OfAnyBeginningOfANameIsPartOfIt) {
  const std::string_view whole =
      "std::a<b(c)>::d<(E)1> {lambda()#1}::operator()(f) [x] -> (anonymous namespace)";
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    const auto part = whole.substr(0, size);
    EXPECT_NE(part.find(qualified_name(part)), part.npos) << part;
  }
}

TEST(LibraryCode, IsKnownByItsScopeOrItsFile) {
  for (const char* name :
       {"std::vector<int>::at(unsigned long)", "void std::sort<int*>(int*, int*)",
        "__gnu_cxx::new_allocator<int>::allocate(unsigned long)", "__cxxabiv1::__terminate(void (*)())",
        "boost::asio::io_context::run()", "refork::Domain::run<app::F>(app::F)", "refork_domain_call"})
    EXPECT_TRUE(is_library_code(name, "/srv/app.cc")) << name;
  EXPECT_TRUE(is_library_code("", "/usr/include/c++/12/bits/invoke.h"));
  EXPECT_TRUE(is_library_code("app::f()", "/usr/lib/llvm-14/include/x.h"));
  for (const char* name :
       {"app::std::f()", "stdx::f()", "reforked()", "main", "app::use<std::string>(std::string)"})
    EXPECT_FALSE(is_library_code(name, "/srv/app.cc")) << name;
  EXPECT_FALSE(is_library_code("", ""));
}

Frame named(const std::string& function, std::uint64_t offset = 1) {
  Frame frame;
  frame.function = function;
  frame.module = "/srv/app";
  frame.offset = offset;
  frame.in_app = true;
  return frame;
}

Frame foreign(const std::string& function) {
  Frame frame = named(function);
  frame.in_app = false;
  return frame;
}

std::uint64_t by_name(const std::vector<Frame>& stack, const char* type = "int") {
  return fingerprint(type, stack, FrameKey::name);
}

TEST(FingerprintByName, IsOfTypeAndNamesAndNoPlace) {
  const auto print = by_name({named("a", 1), named("b", 2)});
  auto moved = std::vector<Frame>{named("a", 7), named("b", 8)};
  moved[0].file = "x.cc", moved[0].line = 3;
  EXPECT_EQ(by_name(moved), print);
  EXPECT_NE(by_name({named("a", 1), named("c", 2)}), print);
  EXPECT_NE(by_name({named("b", 1), named("a", 2)}), print);
  EXPECT_NE(by_name({named("a", 1), named("b", 2)}, "long"), print);
  EXPECT_EQ(by_name({foreign("std::f"), named("a"), foreign("std::g"), named("b")}), print);
}

TEST(FingerprintByName, CountsRecursionOnce) {
  EXPECT_EQ(by_name({named("a"), named("a"), named("a"), named("b")}), by_name({named("a"), named("b")}));
  EXPECT_NE(by_name({named("a"), named("b"), named("a")}), by_name({named("a"), named("b")}));
}

TEST(FingerprintByName, TakesThePlaceWhereThereIsNoName) {
  EXPECT_NE(by_name({named("", 1)}), by_name({named("", 2)}));
  Frame elsewhere = named("", 1);
  elsewhere.module = "/other/path/app";
  EXPECT_EQ(by_name({elsewhere}), by_name({named("", 1)}));
}

TEST(FingerprintByName, TakesTheNewestFramesWhereNoneIsTheApplications) {
  const std::vector<Frame> deep = {foreign("a"), foreign("b"), foreign("c"), foreign("d"), foreign("e")};
  EXPECT_EQ(by_name(deep), by_name({foreign("a"), foreign("b"), foreign("c"), foreign("d")}));
  EXPECT_NE(by_name(deep), by_name({foreign("a"), foreign("b"), foreign("c")}));
  EXPECT_NE(by_name(deep), by_name({}));
}

TEST(FingerprintByPlace, TellsPlacesApartWhateverTheirNames) {
  const auto by_place = [](const Frame& frame) { return fingerprint("int", {frame}, FrameKey::place); };
  EXPECT_NE(by_place(named("a", 1)), by_place(named("a", 2)));
  EXPECT_EQ(by_place(named("a", 1)), by_place(named("b", 1)));
}

}  // namespace
}  // namespace refork::proto
