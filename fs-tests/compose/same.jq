# What `docker compose config --format json` and `cthulhu compose check --json` both say, in one form.
def nothing: . == null or . == false or . == [] or . == {};
def clean: if type == "object" then with_entries(.value |= clean) | with_entries(select(.value | nothing | not))
  elif type == "array" then map(clean) else . end;
def absolute($dir): if startswith("/") then . else $dir + . end;
def file($dir): (.target //= (.source | $dir + .)) | .target |= absolute($dir) | if .mode == 292 then del(.mode) else . end;
def octal: if . < 8 then tostring else (. / 8 | floor | octal) + (. % 8 | tostring) end;
def tmpfs_text: .target + ([(.tmpfs.size // empty | "size=" + tostring), (.tmpfs.mode // empty | "mode=" + octal)]
  | join(",") | if . == "" then "" else ":" + . end);
def service($names):
  (.deploy.resources.limits // {}) as $limits
  | .mem_limit //= $limits.memory | .cpus //= $limits.cpus | .pids_limit //= $limits.pids
  | .scale //= .deploy.replicas | if .scale == 1 then del(.scale) else . end
  | .tmpfs = ([.tmpfs // [] | .[]?] + [.volumes[]? | select(.type == "tmpfs") | tmpfs_text] | sort)
  | .volumes = ([.volumes[]? | select(.type != "tmpfs") | del(.bind.selinux, .volume.labels)])
  | .secrets = ([.secrets[]? | file("/run/secrets/")]) | .configs = ([.configs[]? | file("/")])
  # One that is off, and not required.
  | .depends_on |= (. // {} | with_entries(select(.key | IN($names[])) | .value |= {condition, required}))
  | .networks |= (. // {} | map_values((. // {}) + {is_in: true} | del(.gw_priority)))
  | if .networks == {"default": {is_in: true}} then del(.networks) else . end
  | .ports |= (. // [] | map(del(.mode, .name, .app_protocol)))
  | .ulimits |= (. // {} | map_values(if type == "number" then {soft: ., hard: .} else . end))
  | .links |= (. // [] | map(if contains(":") then . else . + ":" + . end))
  | if .healthcheck.disable then .healthcheck = {disable: true} else . end
  | if .healthcheck.test == ["NONE"] then .healthcheck = {disable: true} else . end
  | if .healthcheck.start_period == "0s" then del(.healthcheck.start_period) else . end
  | if .pull_policy == "never" then . else del(.pull_policy) end
  | del(.network_mode)
  | del(.deploy, .build, .expose, .logging, .annotations, .develop, .cpu_shares, .mem_reservation, .ipc, .pid, .profiles,
    .external_links, ."x-cthulhu");
(.services | keys) as $names
| {
  services: (.services | map_values(service($names))),
  networks: (.networks // {} | map_values({external, internal, ipam: (.ipam | {config}), labels,
    name: (if .external then .name else null end)})),
  volumes: (.volumes // {} | map_values({external, labels, name: (if .external then .name else null end)})),
  configs: (.configs // {} | map_values({file, content})),
  secrets: (.secrets // {} | map_values({file})),
}
| (.services | map_values(.networks // {} | keys) | [.[][]] | unique) as $used
| .networks |= with_entries(select(.key as $key | ($key == "default" | not) or ($used | index("default"))))
| clean
