# Formula for a tap: `brew install --HEAD ssm-proxyd.rb` builds the main branch. For a release, add the `url` of the
# source archive and the `sha256` that its SHA256SUMS file lists.
class SsmProxyd < Formula
  desc "Port forwarding over AWS SSM Session Manager: one session per connection"
  homepage "https://github.com/ssm-proxyd/ssm-proxyd"
  version "0.2.0"
  license "Apache-2.0"
  head "https://github.com/ssm-proxyd/ssm-proxyd.git", branch: "main"

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    system "packaging/stage", bin/"ssm-proxyd", buildpath/"package"
    man1.install Dir["package/man/*"]
    man5.install Dir["package/man5/*"]
    bash_completion.install "package/completions/ssm-proxyd"
    zsh_completion.install "package/completions/_ssm-proxyd"
    fish_completion.install "package/completions/ssm-proxyd.fish"
    (pkgshare/"examples").install Dir["package/examples/*"]
  end

  service do
    run [opt_bin/"ssm-proxyd", "run"]
    keep_alive successful_exit: false
    log_path var/"log/ssm-proxyd.log"
    error_log_path var/"log/ssm-proxyd.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/ssm-proxyd --version")
    (testpath/"config.toml").write <<~TOML
      [[forward]]
      name = "db"
      listen = 5432
      target = "i-0123456789abcdef0"
      remote = 5432
    TOML
    system bin/"ssm-proxyd", "check", "--config", "config.toml"
  end
end
