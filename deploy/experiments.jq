# A row of docs/experiments.md from a summary.json.
def seconds: if . == null then "–" else "\(. * 10 | round / 10) s" end;
def percent: "\(. * 1000 | round / 10) %";
def after: [.gates[] | select(.expression | startswith("steady state after"))];
(.faults | map(.detect_s) | map(select(. != null)) | min) as $detect
| (.faults | map(.during.availability) | map(select(. != null)) | min) as $during
| (.faults[-1]) as $last
| ([.faults[].blast_radius.requests[]? | select(.suffered == true) | .request] | unique) as $suffered
| (if $last.armed | not then "not armed: \($last.problem)"
   elif $last.metastable == true then "never: metastable"
   elif $last.recovery == "never" then "never"
   elif $last.recovery == "not_needed" then "held"
   else ($last.recover_s | seconds) end) as $back
| (if all(after[]; .result == "pass") then "holds" else (after | map(select(.result != "pass") | .expression | ltrimstr("steady state after: ")) | join(", ")) + " ✗" end) as $after
| "| `\($name)` | \(if $during == null then "–" else ($during | percent) end) | \($detect | seconds) | \($back) | \($after) | \(if $suffered == [] then "–" else $suffered | join(", ") end) | \($code) |"
