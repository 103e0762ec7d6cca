//! `trimtabctl top`: a live view of guests and decisions.
//!
//! Three parts that never wait for each other: a task that looks at the daemon once an interval (and reconnects), a
//! thread that reads keys, and this loop that draws. A hung daemon leaves the keys alive.
//! May not: change anything but pause and resume, on a key.

mod app;
mod draw;

use crate::cli::TopArgs;
use crate::exit::{Failure, Kind};
use crate::json::{DecisionJson, GuestJson, StatusJson};
use crate::output::Output;
use app::{Act, App, Snapshot};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use trimtabd::dbus::proxy::{Bus, Client, ClientError, PastQuery};

/// Decisions looked at: more than fit a screen are of no use here.
const DECISIONS: u32 = 50;
/// How long the key thread waits before it looks whether it should end.
const KEY_POLL: Duration = Duration::from_millis(100);

/// What the drawing loop is told.
enum News {
    Look(Result<Box<Snapshot>, String>),
    Key(event::KeyEvent),
    Resize,
    Done(String),
}

/// Runs until `q`, or until `args.count` looks are done.
pub(crate) async fn run(bus: &Bus, output: &Output, args: &TopArgs) -> Result<(), Failure> {
    // The first look decides whether there is anything to watch at all.
    let client = Client::connect(bus).await?;
    let first = look(&client).await?;
    if output.json {
        return lines(client, output, args, first).await;
    }
    if !std::io::stdout().is_terminal() {
        let message = "top needs a terminal; try --json".to_owned();
        return Err(Failure { kind: Kind::Usage, message });
    }
    let mut terminal = ratatui::try_init()?;
    let result = screen(&mut terminal, bus, client, output, args, first).await;
    ratatui::try_restore()?;
    result
}

async fn look(client: &Client) -> Result<Box<Snapshot>, ClientError> {
    let query = PastQuery { guest: None, since: None, limit: DECISIONS };
    let (status, guests, decisions) =
        tokio::try_join!(client.status(), client.guests(), client.decisions(query))?;
    Ok(Box::new(Snapshot { status, guests, decisions }))
}

/// One line of JSON a look.
async fn lines(client: Client, output: &Output, args: &TopArgs, first: Box<Snapshot>) -> Result<(), Failure> {
    let mut snapshot = first;
    let mut looks = 1;
    loop {
        output.line(&serde_json::json!({
            "status": StatusJson::from(&snapshot.status),
            "guests": snapshot.guests.iter().map(GuestJson::from).collect::<Vec<_>>(),
            "decisions": snapshot.decisions.iter().map(DecisionJson::from).collect::<Vec<_>>(),
        }))?;
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
        snapshot = look(&client).await?;
        looks += 1;
    }
}

async fn screen(
    terminal: &mut ratatui::DefaultTerminal,
    bus: &Bus,
    client: Client,
    output: &Output,
    args: &TopArgs,
    first: Box<Snapshot>,
) -> Result<(), Failure> {
    let (news, mut inbox) = mpsc::unbounded_channel();
    let keys = KeyThread::start(news.clone());
    let looker = tokio::spawn(keep_looking(bus.clone(), client.clone(), args.interval, news.clone()));
    let mut app = App::new(bus.described(), output.color);
    app.look(Ok(first));
    let mut looks = 1;
    let result = loop {
        if let Err(error) = terminal.draw(|frame| draw::draw(frame, &app)) {
            break Err(error.into());
        }
        if args.count.is_some_and(|count| looks >= count) {
            break Ok(());
        }
        match inbox.recv().await {
            None => break Ok(()),
            Some(News::Resize) => {}
            Some(News::Done(text)) => app.message = text,
            Some(News::Look(result)) => {
                looks += 1;
                app.look(result);
            }
            Some(News::Key(key)) => match app.key(key) {
                Some(Act::Quit) => break Ok(()),
                Some(Act::Pause(pause)) => {
                    tokio::spawn(set_paused(client.clone(), pause, news.clone()));
                }
                None => {}
            },
        }
    };
    looker.abort();
    drop(keys);
    result
}

/// Looks once an interval; connects anew when the bus was lost.
async fn keep_looking(bus: Bus, mut client: Client, interval: f64, news: mpsc::UnboundedSender<News>) {
    loop {
        tokio::time::sleep(Duration::from_secs_f64(interval)).await;
        let mut result = look(&client).await;
        if matches!(result, Err(ClientError::NoBus { .. })) {
            result = match Client::connect(&bus).await {
                Ok(new) => {
                    client = new;
                    look(&client).await
                }
                Err(error) => Err(error),
            };
        }
        if news.send(News::Look(result.map_err(|error| error.to_string()))).is_err() {
            return;
        }
    }
}

async fn set_paused(client: Client, pause: bool, news: mpsc::UnboundedSender<News>) {
    let result = match pause {
        true => client.write(client.manager().pause()).await,
        false => client.write(client.manager().resume()).await,
    };
    let text = match (result, pause) {
        (Ok(()), true) => "paused".to_owned(),
        (Ok(()), false) => "resumed".to_owned(),
        (Err(error), _) => error.to_string(),
    };
    // Nobody listens any more once the user has quit.
    let _ = news.send(News::Done(text));
}

/// Reads keys until dropped.
struct KeyThread {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl KeyThread {
    fn start(news: mpsc::UnboundedSender<News>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A terminal that cannot be read any more is gone: dropping the sender would not end the loop, a key does.
                let told = match event::poll(KEY_POLL).and_then(|ready| ready.then(event::read).transpose()) {
                    Ok(None) => continue,
                    Ok(Some(Event::Key(key))) if key.kind == KeyEventKind::Press => News::Key(key),
                    Ok(Some(Event::Resize(..))) => News::Resize,
                    Ok(Some(_)) => continue,
                    Err(_) => {
                        let quit = event::KeyEvent::from(event::KeyCode::Char('q'));
                        let _ = news.send(News::Key(quit));
                        return;
                    }
                };
                if news.send(told).is_err() {
                    return;
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for KeyThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}
