// Which failures happen most: one line a fingerprint.
#include <string>

#include "ctl/render.h"

namespace refork::ctl {

namespace {

std::string error_of(const FailureGroup& group) {
  std::string text = escape(group.type);
  if (text.empty()) text = escape(group.kind);
  return group.message.empty() ? text : text + ": " + escape(group.message);
}

std::string services_of(const FailureGroup& group) {
  std::string text;
  for (const auto& service : group.services) text += (text.empty() ? "" : ",") + escape(service);
  return text;
}

// In a narrow table file and line say more than the beginning of a long name.
std::string where_of(const FailureGroup& group, bool whole) {
  if (!group.where) return "-";
  const auto& file = group.where->file;
  if (whole || file.empty()) return render_place(*group.where);
  return escape(file.substr(file.rfind('/') + 1)) + ":" + std::to_string(group.where->line);
}

}  // namespace

// The count and the error are what one looks for, the id what one copies: a wider terminal shows the rest.
std::string render_top(const std::vector<FailureGroup>& groups, const View& view) {
  constexpr std::size_t for_first = 130;
  if (groups.empty()) return "No failures.\n";
  const bool all = view.width == 0 || view.width >= for_first;
  std::vector<Column> columns = {{"COUNT", true}, {"LAST SEEN"}};
  if (all) columns.push_back({"FIRST SEEN"});
  columns.insert(columns.end(), {{"SERVICES"}, {"NEWEST ID", false, true}, {"ERROR"}, {"WHERE"}});
  Table table(std::move(columns), "");
  for (const auto& group : groups) {
    std::vector<Cell> row = {{std::to_string(group.count), Color::bold},
                             {humane_time(group.last_ms).substr(all ? 0 : 5), Color::dim}};
    if (all) row.push_back({humane_time(group.first_ms), Color::dim});
    row.insert(row.end(), {{services_of(group)},
                           {escape(group.id)},
                           {error_of(group), Color::red},
                           {where_of(group, view.width == 0)}});
    table.add(std::move(row));
  }
  return table.text(view);
}

}  // namespace refork::ctl
