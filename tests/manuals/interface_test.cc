// What the manual pages say of the library's functions and classes and of the D-Bus interface, against the
// headers and the tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>

#include "bus/methods.h"
#include "bus/properties.h"
#include "manuals/manual.h"

namespace refork::test {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

// --- the library

// A public header, without comments and without what is not for its users.
std::string header(const fs::path& file) {
  static const std::regex comment("//[^\n]*|/\\*[^]*?\\*/");
  std::ifstream in(file);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  for (std::size_t at; (at = text.find("namespace detail {")) != text.npos;) {
    const auto end = text.find("}  // namespace detail", at);
    text.erase(at, end == text.npos ? 1 : end - at);
  }
  return std::regex_replace(text, comment, " ");
}

std::vector<fs::path> public_headers() {
  std::vector<fs::path> all;
  for (const auto& entry :
       fs::recursive_directory_iterator(fs::path(REFORK_SOURCE_DIR) / "lib/include/refork"))
    if (entry.is_regular_file() && entry.path().parent_path().filename() != "detail")
      all.push_back(entry.path());
  return all;
}

void add_matches(Names& names, const std::string& text, const std::regex& wanted,
                 const std::string& before = "") {
  for (std::sregex_iterator it(text.begin(), text.end(), wanted), end; it != end; ++it)
    names.insert(before + (*it)[1].str());
}

// In C: those that do not end in '_', which are between the headers.
Names functions_of_headers() {
  static const std::regex exported("REFORK_API[^;(]*?\\b(refork_[a-z_]*[a-z])\\("),
      defined("static inline [^;(]*?\\b(refork_[a-z_]*[a-z])\\(");
  Names names;
  for (const auto& file : public_headers()) {
    if (file.extension() != ".h") continue;
    add_matches(names, header(file), exported);
    add_matches(names, header(file), defined);
  }
  return names;
}

Names classes_of_headers() {
  static const std::regex opening(
      "\n(?:namespace (refork[a-z:]*) \\{|"
      "(?:class|struct|enum class) (?:REFORK_API )?([A-Z][A-Za-z]*) *(?::[^;{]*)?\\{)");
  Names names;
  for (const auto& file : public_headers()) {
    if (file.extension() != ".hpp") continue;
    const std::string text = header(file);
    std::string scope;
    for (std::sregex_iterator it(text.begin(), text.end(), opening), end; it != end; ++it)
      if ((*it)[1].matched)
        scope = (*it)[1].str() + "::";
      else if (scope.find("detail") == scope.npos)
        names.insert(scope + (*it)[2].str());
  }
  return names;
}

// What man(1) finds.
Names names_of_pages() {
  static const std::regex name("\n\\.Nm ([^ \n]+)");
  Names names;
  for (const auto& file : manual_names()) {
    if (!file.ends_with(".3")) continue;
    const std::string text = read_manual(file).text;
    add_matches(names, text.substr(0, text.find("\n.Nd ")), name);
  }
  return names;
}

TEST(LibraryManual, NamesEveryFunctionOfC) {
  EXPECT_THAT(names_of_pages(), testing::IsSupersetOf(functions_of_headers()));
}

TEST(LibraryManual, NamesEveryClass) {
  EXPECT_THAT(names_of_pages(), testing::IsSupersetOf(classes_of_headers()));
}

TEST(LibraryManual, NamesNothingThatIsNotThere) {
  static const std::regex word("\\b([A-Za-z_]+)\\b");
  Names words;
  for (const auto& file : public_headers()) add_matches(words, header(file), word);
  for (const auto& name : names_of_pages()) {
    if (fs::exists(fs::path(REFORK_SOURCE_DIR) / "man" / (name + ".3"))) continue;  // a page of that name
    const auto last = name.rfind(':');
    EXPECT_THAT(words, testing::Contains(last == name.npos ? name : name.substr(last + 1))) << name;
  }
}

TEST(LibraryManual, DeclaresEveryFunctionOfC) {
  std::string declared;
  for (const auto& file : manual_names())
    for (const Example& example : read_manual(file).examples)
      if (example.purpose == Purpose::declared) declared += example.text;
  for (const auto& name : functions_of_headers()) EXPECT_NE(declared.find(name + "("), declared.npos) << name;
}

// --- D-Bus

// The first complete type of a signature.
std::string_view first_type(std::string_view signature) {
  std::size_t size = 0;
  while (signature[size] == 'a') ++size;
  int open = 0;
  do {
    const char c = signature[size++];
    open += (c == '(' || c == '{') - (c == ')' || c == '}');
  } while (open > 0);
  return signature.substr(0, size);
}

// "Start "s service" "b wait"", as mdoc has it.
std::string call(const char* member, const char* types, const char* names) {
  std::string line = member;
  std::string_view signature = types ? types : "";
  while (!signature.empty()) {
    const auto type = first_type(signature);
    line += " \"" + std::string(type) + ' ' + names + '"';
    names += std::string_view(names).size() + 1;
    signature.remove_prefix(type.size());
  }
  return line;
}

Names calls(std::span<const sd_bus_vtable> rows) {
  Names lines;
  for (const auto& row : rows)
    if (row.type == _SD_BUS_VTABLE_METHOD)
      lines.insert(call(row.x.method.member, row.x.method.signature, row.x.method.names));
    else if (row.type == _SD_BUS_VTABLE_SIGNAL)
      lines.insert(call(row.x.signal.member, row.x.signal.signature, row.x.signal.names));
  return lines;
}

template <class T, class Object>
Names properties(std::span<const bus::Property<T>> rows, const Object& object) {
  Names lines;
  for (const auto& row : rows)
    lines.insert(std::string(row.name) + ' ' + bus::signature(row.value(object)) +
                 (row.publish == bus::Publish::never_changes ? " const"
                  : row.publish == bus::Publish::changes     ? " changes"
                                                             : ""));
  return lines;
}

// The items of a part of the page: "Start "s service" "b wait"", "Version s const".
struct Interface {
  Names calls, properties;
};

Interface interface_of(const std::string& name) {
  const std::string text = read_manual("org.refork1.5").text;
  std::istringstream in(text.substr(text.find("\n.Ss " + name + '\n') + 1));
  Interface found;
  std::string property;
  std::getline(in, property);
  property.clear();
  for (std::string line; std::getline(in, line) && !line.starts_with(".S");) {
    if (!property.empty())
      found.properties.insert(property + (line.starts_with("const.")    ? " const"
                                          : line.starts_with("changes") ? " changes"
                                                                        : ""));
    property = line.starts_with(".It Va ") ? line.substr(7) : "";
    if (line.starts_with(".It Fn ")) found.calls.insert(line.substr(7));
  }
  return found;
}

TEST(BusManual, HasTheManagersMethodsSignalsAndProperties) {
  const Interface page = interface_of("org.refork1.Manager");
  EXPECT_EQ(page.calls, calls(bus::manager_methods()));
  EXPECT_EQ(page.properties, properties(bus::manager_properties(), core::DaemonStatus()));
}

TEST(BusManual, HasTheServicesMethodsAndProperties) {
  const Interface page = interface_of("org.refork1.Service");
  EXPECT_EQ(page.calls, calls(bus::service_methods()));
  EXPECT_EQ(page.properties, properties(bus::service_properties(), core::ServiceStatus()));
}

TEST(BusManual, HasTheWorkersMethodsAndProperties) {
  const core::ServiceStatus service;
  const core::WorkerStatus worker;
  const Interface page = interface_of("org.refork1.Worker");
  EXPECT_EQ(page.calls, calls(bus::worker_methods()));
  EXPECT_EQ(page.properties, properties(bus::worker_properties(), bus::WorkerRef{&service, &worker}));
}

TEST(BusManual, HasWhatMethodsReturn) {
  const Manual page = read_manual("org.refork1.5");
  for (const auto& row : bus::manager_methods()) {
    if (row.type != _SD_BUS_VTABLE_METHOD || !row.x.method.result) continue;
    for (std::string_view result = row.x.method.result; !result.empty();) {
      const auto type = first_type(result);
      EXPECT_NE(page.text.find(".Va " + std::string(type)), page.text.npos) << row.x.method.member;
      result.remove_prefix(type.size());
    }
  }
}

}  // namespace
}  // namespace refork::test
